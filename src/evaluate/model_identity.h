// Identifies a model to files that were made with another one, or with the same one earlier.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "model/config.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::evaluate {

/// Which layers of a model have experts, how many experts, and how many are chosen per token.
struct ExpertShape {
  std::vector<int32_t> layers;  ///< numbers of the layers with a router, ascending
  int64_t n_expert = 0;
  int64_t n_used = 0;

  /// Choices of one token in all layers.
  int64_t n_choices() const { return static_cast<int64_t>(layers.size()) * n_used; }
  bool operator==(const ExpertShape&) const = default;
};

/// Empty for a dense model, and for one whose layers differ in their number of experts.
ExpertShape expert_shape(const model::ModelConfig& config);

struct ModelIdentity {
  std::string path;
  int64_t n_vocab = 0;
  std::string fingerprint;  ///< SHA-256 of the header and of the first 4 KiB of every tensor
  std::string vocabulary;   ///< SHA-256 of all tokens' texts, and of what chunks begin with
  ExpertShape experts;
};

ModelIdentity model_identity(const gguf::Source& reader, const model::ModelConfig& config,
                             const tokenizer::Tokenizer& tokenizer);

}  // namespace steelyard::evaluate
