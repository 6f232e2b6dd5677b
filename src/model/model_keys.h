// The checked access of architectures to a model's metadata.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/text_hash.h"
#include "gguf/metadata.h"
#include "gguf/tensor_info.h"
#include "model/config.h"

namespace steelyard::model {

/// Metadata of one model with the "<architecture>." prefix applied and every number checked against a range.
///
/// Some writers store an array with a number per layer where others store the number. An array of equal values is read
/// as the value. A few keys may differ from layer to layer (PerLayer); these are read for one layer at a time.
class ModelKeys {
 public:
  /// tensors: of the file; they outlive the keys. n_vocab: of files without a tokenizer; 0: they are refused.
  ModelKeys(const gguf::Metadata& metadata, std::string_view architecture,
            std::span<const gguf::TensorInfo> tensors = {}, int64_t n_vocab = 0);

  /// Arrays of unequal values, by key: an entry for each block of the file.
  using PerLayer = std::map<std::string, std::vector<int64_t>, std::less<>>;
  const PerLayer& per_layer() const { return per_layer_; }
  /// The same keys, read for block i.
  ModelKeys of_block(size_t i) const {
    ModelKeys keys = *this;
    keys.block_ = i;
    return keys;
  }

  /// Whether block i of the file has a tensor of this name, as "ffn_gate_inp.weight".
  bool has_tensor(size_t i, std::string_view name) const {
    return tensors_->contains(fmt::format("blk.{}.{}", i, name));
  }

  bool contains(std::string_view key) const { return metadata_.contains(prefix_ + std::string(key)); }

  /// An integer in [1, 2^31). Error when missing or out of range.
  int64_t count(std::string_view key) const;
  /// The same with a value for an absent key; zero is allowed.
  int64_t count(std::string_view key, int64_t absent) const;
  /// An integer in [0, 2^31). Error when missing or out of range.
  int64_t count_or_zero(std::string_view key) const { return contains(key) ? count(key, 0) : count(key); }
  /// A finite number. Error when missing or none.
  double number(std::string_view key) const;
  /// A finite number > 0. Error when missing or out of range.
  double positive(std::string_view key) const;
  double positive(std::string_view key, double absent) const;
  /// A finite number >= 0.
  double non_negative(std::string_view key, double absent) const;
  /// The same; 0 means `absent`, too.
  double positive_or(std::string_view key, double absent) const {
    const double value = non_negative(key, absent);
    return value > 0 ? value : absent;
  }
  bool boolean(std::string_view key, bool absent) const;
  std::string_view string(std::string_view key, std::string_view absent) const;

  /// Error naming the file and `key`.
  template <typename... Args>
  [[noreturn]] void reject(std::string_view key, fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(metadata_.source(),
                prefix_ + std::string(key) + " " + fmt::format(format, std::forward<Args>(args)...));
  }

  /// What every architecture shares: vocabulary, width, context, eps, and the trunk's number of layers, each a copy of
  /// `layer`.
  ModelConfig model(const LayerConfig& layer) const;
  /// The same with `dense` in the first leading_dense_block_count layers, whose width it reads, and `moe` in the
  /// others.
  ModelConfig model_with_dense_blocks(const LayerConfig& dense, const LayerConfig& moe) const;
  /// Whether this block has key/value heads. Where it has none, files of hybrid models mean another mixer.
  bool has_attention() const;
  /// Heads and head widths, without RoPE.
  AttentionConfig unrotated_attention() const;
  /// The same with RoPE on `pairs` and its scaling.
  AttentionConfig attention(compute::RopePairs pairs) const;
  /// The same for architectures that rotate whole heads: Error when rope.dimension_count is not the head width.
  AttentionConfig fully_rotated_attention(compute::RopePairs pairs) const;
  /// Latent attention in its absorbed form without a q LoRA, whose columns for RoPE stay as they are.
  AttentionConfig unrotated_latent_attention() const;
  RopeConfig rope(compute::RopePairs pairs, int64_t n_dims_absent) const;
  StateSpaceConfig state_space() const;
  KimiDeltaConfig kimi_delta(int64_t n_head) const;
  /// The same for layers that slide a window over the past, where these differ from `full`: key_length_swa,
  /// value_length_swa, rope.dimension_count_swa, rope.freq_base_swa (or freq_base); their RoPE is not scaled.
  AttentionConfig windowed_attention(const AttentionConfig& full, double freq_base) const;
  /// Which of n_layers slide a window over the past: attention.sliding_window_pattern, an array with an entry per layer
  /// or a period whose last layer is full, or its first; `period` when the key is absent.
  enum class Full { kLast, kFirst };
  std::vector<bool> windowed(size_t n_layers, int64_t period, Full full = Full::kLast) const;
  /// The same where the array must exist. Blocks for prediction after the first n_layers may have entries, too;
  /// n_blocks flags.
  std::vector<bool> windowed_blocks(size_t n_layers, size_t n_blocks) const;
  /// Which of n_layers are recurrent: attention.recurrent_layers, an array with an entry per layer or one for all; when
  /// it is absent all but every full_attention_interval-th (by default every fourth).
  std::vector<bool> recurrent(size_t n_layers) const;
  /// The first n_layers entries of an array, at least n_required of which exist; nothing when the key is absent or no
  /// array.
  std::optional<std::vector<bool>> flags(std::string_view key, size_t n_layers, size_t n_required) const;
  std::optional<std::vector<bool>> flags(std::string_view key, size_t n_layers) const {
    return flags(key, n_layers, n_layers);
  }
  /// An array of `n` numbers of 0 or more. Error when missing or different.
  std::vector<int64_t> counts(std::string_view key, size_t n) const;
  /// Limits of activations by block: an array with an entry per block, or one for all; blocks without an entry, with a
  /// number up to 1e-6, or all when the key is absent: 0, none.
  std::vector<float> limits(std::string_view key, size_t n_blocks) const;
  /// An entry for each of n blocks, of an array that has at least as many, or a number for all. Each is 0 or more, and
  /// below 2^31. Error when missing.
  std::vector<int64_t> entries(std::string_view key, size_t n) const;
  /// All numbers of an array, or one number, of 0 to 2^31. Error when missing.
  std::vector<int64_t> numbers(std::string_view key) const;
  /// Exactly n numbers of 64 bits. Error when missing.
  std::vector<uint64_t> factors(std::string_view key, size_t n) const;
  /// Number of experts, how many are used, groups; widths and gating are the architecture's. n_expert 0: no experts.
  FfnConfig experts() const;
  /// The same with the width of an expert, for an architecture that needs experts: Error when there are none.
  FfnConfig required_experts() const;
  /// expert_shared_count, which must exist and may be 0.
  int64_t shared_experts() const {
    return contains("expert_shared_count") ? count("expert_shared_count", 0) : count("expert_shared_count");
  }
  /// expert_gating_func; nothing when it is absent or 0.
  std::optional<compute::Gating> gating() const;
  /// The same. Error when it is absent or 0.
  compute::Gating required_gating() const;
  /// expert_weights_scale; 1 when it is absent or 0.
  float expert_scale() const;

 private:
  bool is_array(std::string_view key) const;
  /// The number under `key`; of an array the entry of this block or, where all are equal, that of all.
  int64_t integer(std::string_view key) const;
  double real(std::string_view key) const;

  const gguf::Metadata& metadata_;
  std::string prefix_;
  std::shared_ptr<const std::unordered_set<std::string_view, TextHash>> tensors_;
  int64_t n_vocab_;
  PerLayer per_layer_;
  size_t block_ = 0;
};

}  // namespace steelyard::model
