// Chunks that were written, beside those that a text is cut into.
#include "tokenizer/chunks.h"

#include <gtest/gtest.h>

#include <numeric>

#include "error_of.h"

namespace steelyard::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

template <typename T>
std::vector<T> copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

TEST(Chunks, WrittenOnesAreAsTheyWereWritten) {
  const Chunks chunks = Chunks::written({{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}, {13, 14, 15, 16, 17, 18}},
                                        {{0}, {0, 1, 4}, {0, 5}}, 6, "text");
  EXPECT_EQ(chunks.n_ctx(), 6);
  EXPECT_EQ(chunks.count(), 3);
  EXPECT_EQ(chunks.input(0), (Ids{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(chunks.input(2), (Ids{13, 14, 15, 16, 17, 18}));  // no BOS in place
  EXPECT_EQ(copy(chunks.starts(0)), (std::vector<int64_t>{0}));
  EXPECT_EQ(copy(chunks.starts(1)), (std::vector<int64_t>{0, 1, 4}));
  EXPECT_EQ(copy(chunks.starts(2)), (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(copy(chunks.tokens()), (Ids{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}));
  // Scored as any other chunk.
  EXPECT_EQ(chunks.first_scored(), 3);
  EXPECT_EQ(chunks.n_scored(), 2);
  EXPECT_EQ(copy(chunks.targets(1)), (Ids{11, 12}));
}

// A single chunk is enough, which is not so of a text.
TEST(Chunks, OneWrittenChunk) {
  const Chunks chunks = Chunks::written({{1, 2, 3, 4}}, {{0, 2}}, 4, "text");
  EXPECT_EQ(chunks.count(), 1);
  EXPECT_EQ(chunks.input(0), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(chunks.tokens().size(), 4u);
}

TEST(Chunks, WrittenOnesOfAnotherLength) {
  const auto error = [](std::vector<Ids> chunks, int64_t n_ctx) {
    std::vector<std::vector<int64_t>> starts(chunks.size(), {0});
    return test::error_of([&] { Chunks::written(std::move(chunks), std::move(starts), n_ctx, "own.txt"); });
  };
  EXPECT_EQ(error({{1, 2, 3, 4}}, 4), "");
  EXPECT_EQ(error({{1, 2, 3, 4}, {1, 2, 3, 4, 5}}, 4), "own.txt: a chunk has 5 tokens, expected 4");
  EXPECT_EQ(error({{1, 2, 3}, {1, 2, 3, 4}}, 4), "own.txt: a chunk has 3 tokens, expected 4");
  EXPECT_EQ(error({}, 4), "own.txt: has no chunks");
  EXPECT_EQ(error({{1, 2, 3}}, 3), "context of 3 tokens is too short, expected at least 4");
}

TEST(Chunks, OthersAreOneTextEach) {
  Ids tokens(1200);
  std::iota(tokens.begin(), tokens.end(), 0);
  const Chunks cut(tokens, 16, 0, TokenId{7}, "text"), strided = Chunks::strided(tokens, 128, 64, 0, "text");
  for (const Chunks* chunks : {&cut, &strided}) {
    for (int64_t c = 0; c < chunks->count(); ++c) EXPECT_EQ(copy(chunks->starts(c)), (std::vector<int64_t>{0}));
  }
  EXPECT_EQ(cut.input(1)[0], 7);
}

}  // namespace
}  // namespace steelyard::tokenizer
