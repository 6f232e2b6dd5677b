// Scores of an indexer, and which of the past a query may see: cpu against ref, formulas, ties and borders.
#include <numeric>

#include "compute/activations.h"

namespace steelyard::compute {
namespace {

TypedRows typed(std::vector<std::byte>& bytes, formats::Type type, Matrix x, Backend& backend) {
  const formats::Format& to = formats::format(type);
  const int64_t stride = x.cols / to.block_len * to.block_bytes + 12;
  bytes.assign(static_cast<size_t>(x.rows * stride), std::byte{1});
  const TypedRows rows{&to, bytes.data(), x.rows, x.cols, stride};
  backend.store(x, rows);
  return rows;
}

TEST(IndexScores, AreSumsOverHeads) {
  for (const formats::Type type : {formats::Type::F32, formats::Type::F16, formats::Type::Q8_0}) {
    for (const int64_t n_keys : {1, 64, 150}) {
      constexpr int64_t kRows = 7, kHeads = 5, kWidth = 32;
      Activations q(kRows, kHeads * kWidth, 1), weights(kRows, kHeads, 2), keys(n_keys, kWidth, 3);
      Activations expected(kRows, n_keys, 4);
      std::vector<std::byte> bytes;
      const TypedRows k = typed(bytes, type, keys.matrix(), *make_backend("ref"));
      for (int64_t s = 0; s < n_keys; ++s) {
        std::vector<float> key(kWidth);
        k.format->decode(k.row(s), kWidth / k.format->block_len, key.data());
        for (int64_t t = 0; t < kRows; ++t) {
          double sum = 0;
          for (int64_t h = 0; h < kHeads; ++h) {
            const double dot = std::inner_product(key.begin(), key.end(), q.matrix().row(t) + h * kWidth, 0.0);
            sum += dot > 0 ? weights.matrix().row(t)[h] * dot : 0;
          }
          expected.matrix().row(t)[s] = static_cast<float>(sum);
        }
      }
      for (const char* name : {"cpu", "ref"}) {
        Activations found(kRows, n_keys, 4);
        make_backend(name)->index_scores(q.matrix(), weights.matrix(), k, found.matrix());
        expect_close(found.matrix(), expected.matrix(), 2e-6f, /*least_scale=*/5.0f);  // of the products
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

// What is visible, as 0 and 1 of one row.
std::string seen(const SelectArgs& args, std::vector<float> scores, int64_t cols) {
  std::vector<float> row(static_cast<size_t>(cols), -3.0f);  // is overwritten
  const auto n = static_cast<int64_t>(scores.size());
  make_backend("ref")->select(args, {scores.data(), 1, n, n}, {row.data(), 1, cols, cols});
  std::string text;
  for (const float value : row) text += value == 1.0f ? '1' : value == 0.0f ? '0' : '?';
  return text;
}

TEST(Select, OfEntries) {
  const auto at = [](int64_t position, int64_t block, int64_t n_best) {
    return SelectArgs{position, block, n_best, false};
  };
  const std::vector<float> scores = {3, -1, 7, 7, 0, 9};
  EXPECT_EQ(seen(at(23, 4, 1), scores, 6), "000001");
  EXPECT_EQ(seen(at(22, 4, 1), scores, 6), "001000");  // the last block is not complete, and the first of equals wins
  EXPECT_EQ(seen(at(22, 4, 2), scores, 6), "001100");
  EXPECT_EQ(seen(at(23, 4, 2), scores, 6), "001001");
  EXPECT_EQ(seen(at(23, 4, 5), scores, 6), "101111");
  EXPECT_EQ(seen(at(23, 4, 6), scores, 6), "111111");
  EXPECT_EQ(seen(at(23, 4, 100), scores, 6), "111111");
  EXPECT_EQ(seen(at(11, 4, 100), scores, 6), "111000");
  EXPECT_EQ(seen(at(2, 4, 100), scores, 6), "000000");  // no complete block
  EXPECT_EQ(seen(at(23, 4, 0), scores, 6), "000000");
  EXPECT_EQ(seen(at(1000, 4, 2), scores, 6), "001001");  // more positions than entries
  EXPECT_EQ(seen(at(4, 1, 2), {1, 1, 1, 1, 1}, 5), "11000");
  EXPECT_EQ(seen(at(3, 1, 2), {-0.0f, 0.0f, -1, 0}, 4), "1100");  // both zeros are equal
}

TEST(Select, OfPositions) {
  const auto at = [](int64_t position, int64_t block, int64_t n_best) {
    return SelectArgs{position, block, n_best, true};
  };
  // Blocks of three; what follows the last complete one is visible.
  EXPECT_EQ(seen(at(10, 3, 1), {1, 5, 2, 9}, 12), "000111000110");
  EXPECT_EQ(seen(at(10, 3, 2), {1, 5, 2}, 11), "00011111111");
  EXPECT_EQ(seen(at(8, 3, 1), {1, 5, 2}, 11), "00011100000");  // complete: nothing follows
  EXPECT_EQ(seen(at(1, 3, 4), {1, 5, 2}, 6), "110000");
  EXPECT_EQ(seen(at(4, 1, 2), {1, 5, 2, 0, 3, 8}, 6), "010010");
}

// Scores that are no numbers stand at the ends of the order: what is chosen is as many as always.
TEST(Select, OfNaN) {
  std::vector<float> scores;
  for (int i = 0; i < 200; ++i) scores.push_back(i % 3 == 0 ? NAN : i % 3 == 1 ? -NAN : static_cast<float>(i % 7));
  for (const int64_t n_best : {1, 17, 100, 190}) {
    const std::string row = seen({199, 1, n_best, false}, scores, 200);
    EXPECT_EQ(std::ranges::count(row, '1'), n_best);
  }
}

// Each row has a position of its own, and the choice is that of sorting.
TEST(Select, OfManyRows) {
  constexpr int64_t kRows = 50, kEntries = 90, kFirst = 37;
  Activations scores(kRows, kEntries, 1), visible(kRows, kEntries, 2);
  for (int64_t t = 0; t < kRows; ++t) {  // many are equal
    for (int64_t b = 0; b < kEntries; ++b) scores.matrix().row(t)[b] = std::round(scores.matrix().row(t)[b] * 4);
  }
  make_backend("ref")->select({kFirst, 1, 20, false}, scores.matrix(), visible.matrix());
  EXPECT_TRUE(visible.untouched_outside());
  for (int64_t t = 0; t < kRows; ++t) {
    std::vector<int64_t> order(static_cast<size_t>(std::min(kFirst + t + 1, kEntries)));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater(), [&](int64_t b) { return scores.matrix().row(t)[b]; });
    std::vector<float> expected(kEntries);
    for (size_t i = 0; i < 20; ++i) expected[static_cast<size_t>(order[i])] = 1;
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), visible.matrix().row(t))) << t;
  }
}

// With room for everything, attention over what was selected is causal attention.
TEST(Select, WithRoomForAllIsCausal) {
  constexpr int64_t kRows = 9, kPast = 30, kKeys = kPast + kRows, kWidth = 8;
  for (const int64_t block : {1, 4}) {
    for (const char* name : {"cpu", "ref"}) {
      const auto backend = make_backend(name);
      Activations q(kRows, kWidth, 1), k(kKeys, kWidth, 2), v(kKeys, kWidth, 3), scores(kRows, kKeys / block, 4),
          visible(kRows, kKeys, 5), found(kRows, kWidth, 6), expected(kRows, kWidth, 6);
      const auto f32 = [](Matrix x) {
        return TypedRows{&formats::format(formats::Type::F32), reinterpret_cast<std::byte*>(x.data), x.rows, x.cols,
                         x.stride * 4};
      };
      AttentionArgs args{q.matrix(), f32(k.matrix()), f32(v.matrix()), 1, 1, kWidth, kWidth, 0.5f, kPast};
      backend->attention(args, expected.matrix());
      backend->select({kPast, block, 1000, true}, scores.matrix(), visible.matrix());
      args.visible = visible.matrix();
      backend->attention(args, found.matrix());
      expect_close(found.matrix(), expected.matrix(), 1e-6f);
    }
  }
}

}  // namespace
}  // namespace steelyard::compute
