// What tuning takes from a base: positions from another one than the middle on, and the distribution at each of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "error_of.h"
#include "evaluate/compact_base.h"
#include "evaluate/tiny_run.h"

namespace steelyard::evaluate {
namespace {

using testing::HasSubstr;

constexpr size_t kFirst = 236;  // offset of the first scored position (docs/perplexity.md)

// A base of the positions from `first` on.
class BaseFromAPosition : public testing::TestWithParam<int64_t> {
 protected:
  BaseFromAPosition() {
    tiny_.chunks.score_from(GetParam());
    tiny_.write_base(path_, BaseLayout::kCompact);
  }

  const test::TempFolder folder_;
  const std::string path_ = folder_ / "base";
  TinyRun tiny_;
};

TEST_P(BaseFromAPosition, ReadsBack) {
  const int64_t first = GetParam();
  const auto base = DivergenceBase::open(path_);
  EXPECT_EQ(base->first_scored(), first);
  EXPECT_EQ(base->n_scored(), 63 - first);
  base->require(tiny_.chunks, tiny_.identity);
  EXPECT_TRUE(std::ranges::equal(base->tokens(), tiny_.chunks.tokens()));
  // The model that made it is nowhere away from it, whatever position its rows begin with.
  const EvaluationResult result = tiny_.run({}, base.get());
  ASSERT_EQ(std::ssize(result.scores), tiny_.chunks.count() * (63 - first));
  for (const TokenScore& score : result.scores) {
    EXPECT_NEAR(score.kld, 0, 1e-6);
    EXPECT_NEAR(score.nll, score.base_nll, 1e-5);
  }
}

// The second halves of all chunks have the same rows in both versions of the layout.
TEST_P(BaseFromAPosition, HasTheRowsOfAnUsualBase) {
  const auto base = DivergenceBase::open(path_);
  TinyRun usual;
  usual.write_base(folder_ / "usual", BaseLayout::kCompact);
  const auto half = DivergenceBase::open(folder_ / "usual");
  EXPECT_EQ(half->first_scored(), 32);
  const std::vector<float> x(272);
  for (int64_t c = 0; c < 8; ++c) {
    for (int64_t i = std::max<int64_t>(GetParam() - 32, 0); i < 31; ++i) {
      const TokenScore is = base->compare(c, i + 32 - GetParam(), 5, x), was = half->compare(c, i, 5, x);
      EXPECT_NEAR(is.base_nll, was.base_nll, 1e-5) << c << " " << i;
      EXPECT_EQ(is.same_top, was.same_top) << c << " " << i;
    }
  }
}

// Only a base whose positions begin elsewhere says where: others are as they always were.
TEST_P(BaseFromAPosition, SaysWhere) {
  const std::string bytes = test::read_text(path_);
  uint32_t version, first;
  std::memcpy(&version, bytes.data() + 8, sizeof(version));
  std::memcpy(&first, bytes.data() + kFirst, sizeof(first));
  EXPECT_EQ(version, 2u);
  EXPECT_EQ(first, GetParam());
  const auto base = CompactBase(MappedFile(path_));
  EXPECT_EQ(bytes.size(), kFirst + 4 + 4 * 8 * 64 + 4 * base.experts().layers.size() +
                              static_cast<size_t>(8 * base.n_scored()) * base.shape().row_bytes());
}

TEST_P(BaseFromAPosition, OtherPositionsAreRefused) {
  const auto base = DivergenceBase::open(path_);
  TinyRun usual;
  EXPECT_THAT(test::error_of([&] { base->require(usual.chunks, usual.identity); }),
              HasSubstr(fmt::format("positions from {} on of each chunk, not from 32", GetParam())));
  for (const BaseLayout layout : {BaseLayout::kCompact, BaseLayout::kLlama}) {
    usual.write_base(folder_ / "usual", layout);
    EXPECT_THAT(test::error_of([&] { DivergenceBase::open(folder_ / "usual")->require(tiny_.chunks, tiny_.identity); }),
                HasSubstr("positions from 32 on"));
  }
}

TEST_P(BaseFromAPosition, DamagedHeaders) {
  const std::string bytes = test::read_text(path_);
  const auto error_of = [&](std::string changed) {
    std::ofstream(folder_ / "changed", std::ios::binary) << changed;
    return test::error_of([&] { DivergenceBase::open(folder_ / "changed")->require(tiny_.chunks, tiny_.identity); });
  };
  const auto with_first = [&](uint32_t value) {
    std::string changed = bytes;
    std::memcpy(changed.data() + kFirst, &value, sizeof(value));
    return error_of(changed);
  };
  EXPECT_EQ(with_first(static_cast<uint32_t>(GetParam())), "");
  for (const uint32_t value : {63u, 64u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
    EXPECT_THAT(with_first(value), HasSubstr(fmt::format("position {} of 64", value)));
  EXPECT_NE(with_first(static_cast<uint32_t>(GetParam() == 62 ? 61 : GetParam() + 1)), "");
  EXPECT_THAT(with_first(0), HasSubstr(GetParam() == 0 ? "" : "truncated"));
  for (const size_t n : {kFirst, kFirst + 3, kFirst + 4, bytes.size() - 1}) EXPECT_NE(error_of(bytes.substr(0, n)), "");
  std::string of_version_1 = bytes;
  of_version_1[8] = 1;
  EXPECT_NE(error_of(of_version_1), "");
  std::mt19937 random(11);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 200; ++round) {
    std::string changed = bytes;
    for (size_t change = 0; change <= below(4); ++change) changed[below(256)] = static_cast<char>(below(256));
    error_of(changed);  // must return, whatever it says
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, BaseFromAPosition, testing::Values(0, 1, 40, 62));

// The distribution of logits that a layout holds.
std::vector<double> softmax(std::span<const float> x) {
  const double log_sum = log_normalizer(x).log_sum;
  std::vector<double> p;
  for (const float value : x) p.push_back(std::exp(value - log_sum));
  return p;
}

class Target : public testing::TestWithParam<BaseLayout> {};

// In either layout, against the model's own logits.
TEST_P(Target, IsTheDistributionOfTheModel) {
  const test::TempFolder folder;
  const TinyRun tiny;
  tiny.write_base(folder / "base", GetParam());
  const auto base = DivergenceBase::open(folder / "base");
  std::vector<int32_t> tokens(static_cast<size_t>(base->n_targets()));
  std::vector<float> probs(tokens.size());
  int n_rows = 0;
  score_chunks(tiny.model, tiny.chunks, tiny.identity.n_vocab, {}, 0, [&](const ScoredLogits& rows) {
    for (int64_t r = 0; r < rows.n_rows; ++r) {
      const std::vector<double> p = softmax(rows.row(r));
      base->target(rows.chunk, rows.first + r, tokens, probs);
      double sum = 0;
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0) {
          EXPECT_EQ(probs[i], 0) << "no token, no probability";
          continue;
        }
        // llama-perplexity's codes are of 16 nats in 65535 steps.
        EXPECT_NEAR(probs[i], p[static_cast<size_t>(tokens[i])], 2e-4 * p[static_cast<size_t>(tokens[i])] + 2e-7);
        sum += probs[i];
      }
      EXPECT_LE(sum, 1 + 1e-5);
      EXPECT_GT(sum, 0.999);  // a vocabulary of 272: 256 of them are named, and a sample of the others
      ++n_rows;
    }
  });
  EXPECT_EQ(n_rows, 8 * 31);
}

INSTANTIATE_TEST_SUITE_P(Layouts, Target, testing::Values(BaseLayout::kCompact, BaseLayout::kLlama),
                         [](const auto& tested) { return tested.param == BaseLayout::kLlama ? "llama" : "compact"; });

// One token of the tail has most of it, and is sampled again and again.
TEST(NamedProbabilities, ATokenThatIsSampledAgainCountsOnce) {
  const CompactShape shape = compact_shape(1000, 0);
  std::vector<float> x(1000, 0);
  for (size_t i = 0; i < 256; ++i) x[i] = 10;
  x[700] = 6;
  const CompactRow row = make_compact_row(shape, x, 0, {}, 3);
  ASSERT_GT(std::ranges::count(row.tokens, 700), 1);
  std::vector<int32_t> tokens(static_cast<size_t>(shape.n_tokens()));
  std::vector<float> probs(tokens.size());
  named_probabilities(shape, row, tokens, probs);
  EXPECT_EQ(std::ranges::count(tokens, 700), 1);
  EXPECT_GT(std::ranges::count(tokens, -1), 0);
  const std::vector<double> p = softmax(x);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const double expected = tokens[i] < 0 ? 0 : p[static_cast<size_t>(tokens[i])];
    EXPECT_NEAR(probs[i], expected, 1e-6 * expected) << i;
    if (tokens[i] >= 0) {
      EXPECT_EQ(std::ranges::count(tokens, tokens[i]), 1) << tokens[i];
    }
  }
}

// Nothing is left for a tail: its sample says nothing.
TEST(NamedProbabilities, WithoutATailOnlyTheLikelyTokensCount) {
  const CompactShape shape = compact_shape(1000, 0);
  std::vector<float> x(1000, -200);
  x[7] = 0;
  CompactRow row = make_compact_row(shape, x, 7, {}, 0);
  row.tail_mass = 0;
  std::vector<int32_t> tokens(static_cast<size_t>(shape.n_tokens()));
  std::vector<float> probs(tokens.size());
  named_probabilities(shape, row, tokens, probs);
  EXPECT_EQ(tokens[0], 7);
  EXPECT_EQ(probs[0], 1);
  for (auto i = static_cast<size_t>(shape.n_top); i < tokens.size(); ++i) EXPECT_EQ(tokens[i], -1);
}

}  // namespace
}  // namespace steelyard::evaluate
