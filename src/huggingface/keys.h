// The metadata of a model, written with the prefix of its architecture and in the types that llama.cpp reads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "huggingface/config.h"

namespace steelyard::huggingface {

class Keys {
 public:
  /// n_layers: of the trunk; n_blocks: with those that predict further tokens.
  Keys(gguf::Metadata& metadata, std::string_view architecture, int64_t n_layers, int64_t n_blocks)
      : metadata_(metadata), prefix_(std::string(architecture) + "."), n_layers_(n_layers), n_blocks_(n_blocks) {}

  int64_t n_layers() const { return n_layers_; }
  int64_t n_blocks() const { return n_blocks_; }

  void integer(std::string_view key, int64_t value);
  void integer(std::string_view key, std::optional<int64_t> value);
  void real(std::string_view key, double value);
  void real(std::string_view key, std::optional<double> value);
  void boolean(std::string_view key, bool value);
  void string(std::string_view key, std::string_view value);
  void integers(std::string_view key, std::span<const int64_t> values);
  void booleans(std::string_view key, const std::vector<bool>& values);

 private:
  gguf::Metadata& metadata_;
  std::string prefix_;
  int64_t n_layers_, n_blocks_;
};

/// general.sampling.*: what the folder's generation_config.json says of sampling. Nothing where there is no such file;
/// Error naming it where it is no JSON object.
void add_sampling(const std::string& folder, gguf::Metadata& metadata);

/// What nearly every configuration says: sizes, heads, norms, RoPE, experts.
void add_common_keys(const Config& config, Keys& keys);

/// attention.sliding_window and which layers have it: layer_types, or all but each last one of `period`.
void add_windows(const Config& config, Keys& keys, int64_t window, int64_t period);

/// rope.dimension_count for a share of the head that is rotated.
void add_partial_rope(const Config& config, Keys& keys, double share_absent);

}  // namespace steelyard::huggingface
