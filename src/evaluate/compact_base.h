// Our base file: the likely tokens of a position, a sample of the others, and which experts were chosen. A tenth of
// llama-perplexity's base or less (docs/perplexity.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "evaluate/compact_row.h"
#include "evaluate/divergence_base.h"

namespace steelyard::evaluate {

class CompactBase : public DivergenceBase {
 public:
  static constexpr std::string_view kMagic = "STEELKLD";

  /// `file` begins with kMagic.
  explicit CompactBase(MappedFile file);

  /// Also compares the vocabularies' hashes.
  void require(const tokenizer::Chunks& chunks, const ModelIdentity& model) const override;
  TokenScore compare(int64_t chunk, int64_t index, tokenizer::TokenId target, std::span<const float> x) const override;
  int64_t n_targets() const override { return shape_.n_tokens(); }
  void target(int64_t chunk, int64_t index, std::span<int32_t> tokens, std::span<float> probs) const override;
  const ExpertShape& experts() const override { return experts_; }
  std::vector<uint16_t> choices(int64_t chunk, int64_t index) const override;

  std::string note() const override { return note_; }

  const CompactShape& shape() const { return shape_; }
  /// Of the model that made the base.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  CompactRow checked_row(int64_t chunk, int64_t index) const;

  CompactShape shape_;
  ExpertShape experts_;
  std::string fingerprint_, vocabulary_, note_;
};

class CompactBaseEncoder : public DivergenceBaseEncoder {
 public:
  CompactBaseEncoder(const tokenizer::Chunks& chunks, const ModelIdentity& model);
  std::span<const std::byte> encode(const ScoredLogits& rows) override;

 private:
  CompactShape shape_;
  int64_t n_scored_;
  std::vector<std::byte> rows_;
};

class CompactBaseWriter : public DivergenceBaseWriter {
 public:
  CompactBaseWriter(const std::string& path, const tokenizer::Chunks& chunks, const ModelIdentity& model,
                    std::optional<AtomicFile::Resume> resume, const std::string& note = "");
};

}  // namespace steelyard::evaluate
