// A compact row's size and error, on made-up distributions of real vocabularies' size.
#include "evaluate/compact_row.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace steelyard::evaluate {
namespace {

struct Case {
  int64_t n_vocab;
  double spread;  // standard deviation of the base's logits: what lies in the tail
  double noise;   // of the other model's logits: how far it is
};

double exact_kld(std::span<const float> base, std::span<const float> x) {
  const double p_sum = log_normalizer(base).log_sum, q_sum = log_normalizer(x).log_sum;
  double kld = 0;
  for (size_t i = 0; i < x.size(); ++i) kld += std::exp(base[i] - p_sum) * ((base[i] - p_sum) - (x[i] - q_sum));
  return kld;
}

// The stated bound: mean divergence within four sampling errors and 1e-6, single ones within eight.
TEST(CompactRow, ErrorStaysWithinTheStatedBound) {
  std::mt19937 random(3);
  for (const Case& c : {Case{49152, 3.0, 0.1}, Case{49152, 1.5, 0.3}, Case{49152, 3.0, 1.0}, Case{151936, 2.5, 0.05},
                        Case{262144, 2.0, 0.2}, Case{1000, 1.0, 0.1}, Case{300, 1.0, 0.1}}) {
    const CompactShape shape = compact_shape(c.n_vocab, 0);
    constexpr int kRows = 24;
    double error = 0, variance = 0, kld = 0, mass = 0;
    for (int r = 0; r < kRows; ++r) {
      std::normal_distribution<float> base_logit(0, static_cast<float>(c.spread)),
          noise(0, static_cast<float>(c.noise));
      std::vector<float> base(static_cast<size_t>(c.n_vocab)), x(base.size());
      for (float& value : base) value = base_logit(random);
      for (size_t i = 0; i < x.size(); ++i) x[i] = base[i] + noise(random);
      const tokenizer::TokenId target = 17;
      const CompactRow row = make_compact_row(shape, base, target, {}, static_cast<uint64_t>(r));
      EXPECT_EQ(find_damage(shape, row), "");
      const TokenScore score = compare(shape, row, x, target);
      const double exact = exact_kld(base, x);
      EXPECT_NEAR(score.kld, exact, 1e-6 + 8 * std::sqrt(score.kld_variance)) << c.n_vocab << " " << c.noise;
      EXPECT_NEAR(score.base_nll, log_normalizer(base).log_sum - base[17], 1e-5);
      error += (score.kld - exact) / kRows;
      kld += exact / kRows;
      variance += score.kld_variance / kRows / kRows;
      mass += row.tail_mass / kRows;
    }
    EXPECT_LE(std::abs(error), 1e-6 + 4 * std::sqrt(variance)) << c.n_vocab << " " << c.noise << " tail " << mass;
    EXPECT_LE(std::sqrt(variance), 0.04 * kld) << "the sample says little: vocabulary " << c.n_vocab;
  }
}

TEST(CompactRow, ATenthOfTheCompleteRow) {
  for (const int64_t n_vocab : {32000, 49152, 65536, 128256, 151936, 154880, 262144}) {
    EXPECT_LE(10 * compact_shape(n_vocab, 0).row_bytes(), static_cast<size_t>(2 * n_vocab + 8)) << n_vocab;
  }
}

TEST(CompactRow, SmallVocabulariesAreComplete) {
  const CompactShape shape = compact_shape(100, 0);
  EXPECT_EQ(shape.n_top, 100);
  EXPECT_EQ(shape.n_samples, 0);
  std::vector<float> base(100), x(100);
  for (size_t i = 0; i < 100; ++i) base[i] = std::sin(static_cast<float>(i)), x[i] = std::cos(static_cast<float>(i));
  const CompactRow row = make_compact_row(shape, base, 3, {}, 0);
  EXPECT_NEAR(compare(shape, row, x, 3).kld, exact_kld(base, x), 1e-6);
  EXPECT_EQ(compare(shape, row, x, 3).kld_variance, 0);
}

// One token has it all: the tail's probability vanishes, and nothing is divided by it.
TEST(CompactRow, PeakedDistributions) {
  const CompactShape shape = compact_shape(1000, 0);
  std::vector<float> base(1000, -200), x(1000, -100);
  base[7] = x[7] = 0;
  const CompactRow row = make_compact_row(shape, base, 7, {}, 0);
  EXPECT_EQ(find_damage(shape, row), "");
  EXPECT_NEAR(compare(shape, row, x, 7).kld, 0, 1e-9);
  EXPECT_EQ(compare(shape, row, x, 7).same_top, 1);
  // The other way round: the model has put everything where the base has nothing.
  std::vector<float> wrong(1000, 0);
  wrong[7] = -50;
  EXPECT_NEAR(compare(shape, row, wrong, 7).kld, exact_kld(base, wrong), 1e-4);
}

TEST(CompactRow, EqualLogitsTakeTheFirstIds) {
  const CompactShape shape = compact_shape(1000, 0);
  const std::vector<float> base(1000, 1.0f);
  const CompactRow row = make_compact_row(shape, base, 0, {}, 5);
  for (int64_t i = 0; i < shape.n_top; ++i) EXPECT_EQ(row.tokens[static_cast<size_t>(i)], i);
  EXPECT_NEAR(row.tail_mass, 1 - static_cast<double>(shape.n_top) / 1000, 1e-6);
  EXPECT_EQ(find_damage(shape, row), "");
}

TEST(CompactRow, StoredAndLoaded) {
  const CompactShape shape = compact_shape(1000, 4);
  std::vector<float> base(1000);
  for (size_t i = 0; i < base.size(); ++i) base[i] = static_cast<float>(i % 37) / 10;
  const std::vector<uint16_t> experts{1, 2, 0, 7};
  const CompactRow row = make_compact_row(shape, base, 3, experts, 1);
  std::vector<std::byte> bytes(shape.row_bytes());
  store(row, bytes);
  const CompactRow loaded = load_compact_row(shape, bytes);
  EXPECT_EQ(loaded.tokens, row.tokens);
  EXPECT_EQ(loaded.log_probs, row.log_probs);
  EXPECT_EQ(loaded.experts, experts);
  EXPECT_EQ(loaded.target_log_prob, row.target_log_prob);
  EXPECT_EQ(loaded.tail_mass, row.tail_mass);
}

}  // namespace
}  // namespace steelyard::evaluate
