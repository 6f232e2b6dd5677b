// One row of a compact base: a distribution p as its most likely tokens, exact, and a sample of all the others, the
// tail. Layout and error are in docs/perplexity.md. Used by compact_base.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "evaluate/token_score.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::evaluate {

/// Counts that determine a row's size.
struct CompactShape {
  int64_t n_vocab = 0;
  int64_t n_top = 0;      ///< at least 1, at most n_vocab
  int64_t n_samples = 0;  ///< 0 when n_top is n_vocab
  int64_t n_choices = 0;  ///< experts

  int64_t n_tokens() const { return n_top + n_samples; }
  size_t row_bytes() const;
};

/// The writer's choice: a 64th of the vocabulary, between 256 and 1024, and a quarter of that as sample. From a
/// vocabulary of 32,000 on this is at most a tenth of llama-perplexity's row.
CompactShape compact_shape(int64_t n_vocab, int64_t n_choices);

struct CompactRow {
  float target_log_prob = 0;
  float tail_mass = 0;  ///< probability of all that is not among the first n_top tokens
  std::vector<tokenizer::TokenId>
      tokens;                     ///< [n_top + n_samples]: the most likely in descending order, then the sample
  std::vector<float> log_probs;   ///< [n_top + n_samples]
  std::vector<uint16_t> experts;  ///< [n_choices]
};

/// The row of the logits x [n_vocab]. The tail is sampled systematically, by its probabilities, from an offset that
/// depends on `seed`.
CompactRow make_compact_row(const CompactShape& shape, std::span<const float> x, tokenizer::TokenId target,
                            std::span<const uint16_t> experts, uint64_t seed);

/// Converts a row to bytes, and back [row_bytes].
void store(const CompactRow& row, std::span<std::byte> out);
CompactRow load_compact_row(const CompactShape& shape, std::span<const std::byte> bytes);

/// What is wrong with a row from a file; empty when nothing is.
std::string find_damage(const CompactShape& shape, const CompactRow& row);

/// The tokens of an undamaged row, each once, and their probabilities [n_tokens]; -1 in the place of one that was
/// sampled again.
void named_probabilities(const CompactShape& shape, const CompactRow& row, std::span<int32_t> tokens,
                         std::span<float> probs);

/// Scores logits x against an undamaged row.
TokenScore compare(const CompactShape& shape, const CompactRow& row, std::span<const float> x,
                   tokenizer::TokenId target);

}  // namespace steelyard::evaluate
