// The generator against published values, and the independence of its streams.
#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace steelyard {
namespace {

// SplitMix64 from seed 0, as published with the algorithm.
TEST(Random, KnownValues) {
  Random random(0);
  EXPECT_EQ(random.bits(), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(random.bits(), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(random.bits(), 0x06C45D188009454Fu);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = random.uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

// Texts that were written from a seed must come again: what a stream begins with never changes. The values are the
// formula's, worked out elsewhere.
TEST(Random, KnownStreams) {
  Random first(0, 0), second(0, 1), other(42, 7);
  EXPECT_EQ(first.bits(), 0x5DC20AA7B2A27137u);
  EXPECT_EQ(first.bits(), 0xBDA5668A01D7049Cu);
  EXPECT_EQ(second.bits(), 0x7F46A57C92DBEE5Fu);
  EXPECT_EQ(second.bits(), 0x397992487F4B0305u);
  EXPECT_EQ(other.bits(), 0x0A04677F20C55C95u);
  EXPECT_EQ(other.bits(), 0xAC09C680C32174C1u);
}

// No number twice, in no stream of neighbouring seeds nor in the sequences of the seeds themselves.
TEST(Random, StreamsShareNothing) {
  std::set<uint64_t> seen;
  const auto see = [&](Random random) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(seen.insert(random.bits()).second);
  };
  for (uint64_t seed = 0; seed < 4; ++seed) {
    see(Random(seed));
    for (uint64_t stream = 0; stream < 50; ++stream) see(Random(seed, stream));
  }
}

// Neighbouring streams are as independent as the numbers of one.
TEST(Random, StreamsAreUncorrelated) {
  const int n = 20000;
  double sum = 0, products = 0, before = 0;
  for (uint64_t stream = 0; stream < n; ++stream) {
    const double centred = Random(3, stream).uniform() - 0.5;
    sum += centred;
    products += centred * before;
    before = centred;
  }
  EXPECT_LT(std::abs(sum / n), 0.01);
  EXPECT_LT(std::abs(products / n) * 12, 0.03);  // the variance is 1/12
}

TEST(Random, BelowIsUniform) {
  Random random(5, 6);
  int counts[7] = {};
  for (int i = 0; i < 7000; ++i) {
    const int64_t k = random.below(7);
    ASSERT_TRUE(k >= 0 && k < 7);
    ++counts[k];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
  EXPECT_EQ(random.below(1), 0);
}

}  // namespace
}  // namespace steelyard
