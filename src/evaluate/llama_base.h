// The base file of llama-perplexity: all log-probabilities of a position in 16 bits each (docs/perplexity.md). Figures
// from it are those that llama-perplexity computes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "evaluate/divergence_base.h"

namespace steelyard::evaluate {

class LlamaBase : public DivergenceBase {
 public:
  static constexpr std::string_view kMagic = "_logits_";

  /// `file` begins with kMagic.
  explicit LlamaBase(MappedFile file);

  TokenScore compare(int64_t chunk, int64_t index, tokenizer::TokenId target, std::span<const float> x) const override;
  int64_t n_targets() const override { return n_vocab(); }
  void target(int64_t chunk, int64_t index, std::span<int32_t> tokens, std::span<float> probs) const override;
  const ExpertShape& experts() const override { return no_experts_; }
  std::vector<uint16_t> choices(int64_t, int64_t) const override { return {}; }

  /// Log-probabilities [n_vocab] of a scored position. Error when the row's scale is damaged.
  void log_probs(int64_t chunk, int64_t index, std::span<float> out) const;

 private:
  ExpertShape no_experts_;
};

class LlamaBaseEncoder : public DivergenceBaseEncoder {
 public:
  explicit LlamaBaseEncoder(int64_t n_vocab);
  std::span<const std::byte> encode(const ScoredLogits& rows) override;

 private:
  size_t row_values_;
  std::vector<uint16_t> rows_;
};

class LlamaBaseWriter : public DivergenceBaseWriter {
 public:
  LlamaBaseWriter(const std::string& path, const tokenizer::Chunks& chunks, int64_t n_vocab,
                  std::optional<AtomicFile::Resume> resume);
};

}  // namespace steelyard::evaluate
