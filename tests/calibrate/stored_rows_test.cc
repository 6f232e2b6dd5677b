// Inputs that are stored give the sums that adding every batch at once gives, bit by bit, wherever they lie.
#include "calibrate/stored_rows.h"

#include <gtest/gtest.h>

#include <random>

#include "base/nested_parallel.h"
#include "calibrate/hessian_collector.h"
#include "support.h"

namespace steelyard::calibrate {
namespace {

constexpr int64_t kWidth = 40, kExperts = 3, kTokens = 50, kUsed = 2;

// A batch as a layer shows it: rows in expert order.
struct Shown {
  std::vector<float> rows;
  std::vector<int32_t> token, row_begin = {0};
  compute::Routing routing;

  compute::Matrix matrix() { return {rows.data(), kTokens * kUsed, kWidth, kWidth}; }
};

class StoredRowsTest : public testing::Test {
 protected:
  StoredRowsTest() {
    weight_.name = "blk.0.ffn_gate_exps.weight";
    weight_.n_in = kWidth;
    weight_.n_slices = kExperts;
  }

  // per_slot: an expert's input is its own, else it is the token's.
  std::unique_ptr<Shown> batch(uint32_t seed, uint32_t routes, bool per_slot) const {
    std::mt19937 random(seed), choices(routes);
    std::normal_distribution<float> normal;
    std::vector<std::vector<int32_t>> tokens(kExperts);
    for (int32_t t = 0; t < kTokens; ++t) {
      const auto left_out = static_cast<size_t>(choices() % kExperts);
      for (size_t e = 0; e < kExperts; ++e) {
        if (e != left_out) tokens[e].push_back(t);
      }
    }
    std::vector<float> of_token(kTokens * kWidth);
    for (float& value : of_token) value = normal(random);
    auto shown = std::make_unique<Shown>();
    for (const std::vector<int32_t>& of_expert : tokens) {
      for (const int32_t t : of_expert) {
        shown->token.push_back(t);
        for (int64_t c = 0; c < kWidth; ++c) {
          shown->rows.push_back(of_token[static_cast<size_t>(t * kWidth + c)] + (per_slot ? normal(random) : 0.0f));
        }
      }
      shown->row_begin.push_back(static_cast<int32_t>(shown->token.size()));
    }
    shown->routing = {.n_tokens = kTokens,
                      .n_used = kUsed,
                      .n_expert = kExperts,
                      .token = shown->token.data(),
                      .row_begin = shown->row_begin.data()};
    return shown;
  }

  // Two batches, whose routes differ a little between the two models.
  std::shared_ptr<const SliceHessians> collect(CollectionSpace space, bool per_slot) {
    InputRecorder originals;
    HessianCollector collector({}, &originals, std::move(space));
    for (const uint32_t i : {1u, 2u}) {
      originals.clear();
      const auto before = batch(i, i, per_slot), after = batch(i + 10, i == 1 ? 1 : 7, per_slot);
      originals.experts(*backend_, weight_, before->matrix(), before->routing);
      collector.experts(*backend_, weight_, after->matrix(), after->routing);
    }
    return collector.take(*backend_).at(weight_.name);
  }

  static void expect_same(const SliceHessians& a, const SliceHessians& b) {
    ASSERT_EQ(a.n_slices(), b.n_slices());
    for (int64_t s = 0; s < a.n_slices(); ++s) {
      EXPECT_EQ(a.count(s), b.count(s));
      const SliceSums x = a.of_slice(s), y = b.of_slice(s);
      EXPECT_TRUE(std::ranges::equal(x.hessian, y.hessian)) << s;
      EXPECT_TRUE(std::ranges::equal(x.cross_covariance, y.cross_covariance)) << s;
    }
    EXPECT_EQ(a.pooled().hessian, b.pooled().hessian);
    EXPECT_EQ(a.pooled().cross_covariance, b.pooled().cross_covariance);
  }

  const test::TempFolder folder_;
  std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  compute::Weight weight_;
};

TEST_F(StoredRowsTest, SumsAreThoseOfAllBatchesAtOnce) {
  for (const char* backend : {"cpu", "ref"}) {
    backend_ = compute::make_backend(backend);
    for (const bool per_slot : {false, true}) {
      const auto sums = collect({}, per_slot);
      EXPECT_NE(sums->of_slice(0).cross_covariance[1], 0.0f);
      for (const uint64_t memory : {uint64_t{0}, uint64_t{20'000}, UINT64_MAX}) {
        const auto space = std::make_shared<SpillSpace>(memory, folder_ / "");
        expect_same(*sums, *collect({space, /*store_rows=*/true}, per_slot));
        expect_same(*sums, *collect({space, /*store_rows=*/false}, per_slot));
      }
    }
  }
}

// What experts share is there once, and what they do not is not mixed up.
TEST_F(StoredRowsTest, ATokensRowIsStoredOnce) {
  for (const bool per_slot : {false, true}) {
    const auto shown = batch(3, 3, per_slot), other = batch(4, 3, per_slot), moved = batch(4, 5, per_slot);
    const auto row = [&](int64_t r) { return shown->rows.data() + r * kWidth; };
    const auto record = [](const Shown& batch) {
      return RecordedInput{kTokens * kUsed, std::make_shared<const std::vector<float>>(batch.rows), batch.token,
                           batch.row_begin};
    };
    const RecordedInput own = record(*shown), same = record(*other), changed = record(*moved);
    EXPECT_EQ(routed_rows(kWidth, row, own, nullptr).n_rows, per_slot ? kTokens * kUsed : kTokens);
    const RoutedRows rows = routed_rows(kWidth, row, own, &same);
    EXPECT_EQ(rows.n_rows, per_slot ? kTokens * kUsed : kTokens);
    EXPECT_EQ(std::ranges::count(rows.has_drift, true), kTokens * kUsed);
    const RoutedRows elsewhere = routed_rows(kWidth, row, own, &changed);
    EXPECT_LT(std::ranges::count(elsewhere.has_drift, true), kTokens * kUsed);
    EXPECT_GT(std::ranges::count(elsewhere.has_drift, true), 0);
  }
}

TEST_F(StoredRowsTest, MemoryIsGivenBack) {
  const auto space = std::make_shared<SpillSpace>(uint64_t{1} << 20, folder_ / "");
  for (const bool store_rows : {false, true}) {
    const auto kept = collect({space, store_rows}, true);
    kept->pooled();
    EXPECT_FALSE(space->reserve(uint64_t{1} << 20));
  }
  EXPECT_TRUE(space->reserve(uint64_t{1} << 20));
}

TEST_F(StoredRowsTest, SlicesMayBeAskedForByManyThreads) {
  const auto sums = collect({}, true);
  const auto stored = collect({std::make_shared<SpillSpace>(0, folder_ / ""), true}, true);
  parallel_for_few(12 * kExperts, 2, [&](int64_t i) {
    const int64_t s = i % kExperts;
    const SliceSums own = stored->of_slice(s);
    if (!std::ranges::equal(own.hessian, sums->of_slice(s).hessian)) throw std::runtime_error("other sums");
  });
}

}  // namespace
}  // namespace steelyard::calibrate
