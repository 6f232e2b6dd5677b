// Random numbers of sampling. A counter-based generator: number i of a seed is a function of both. It is the same
// on every platform, which the distributions of <random> do not guarantee. Used by generate and tune.
#pragma once

#include <cstdint>

namespace steelyard {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  /// Number `stream` of the sequences that a seed gives, independent of the others.
  Random(uint64_t seed, uint64_t stream) : seed_(Random(~seed).at(stream)) {}

  /// SplitMix64 (Steele, Lea and Flood 2014): the mixed value of seed + i * golden ratio.
  uint64_t bits() { return at(counter_++); }

  /// Uniform in [0, 1): a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  /// Uniform in [0, n), n > 0; the bias of less than n / 2^53 does not matter here.
  int64_t below(int64_t n) { return static_cast<int64_t>(uniform() * static_cast<double>(n)); }

 private:
  uint64_t at(uint64_t i) const {
    uint64_t z = seed_ + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }

  uint64_t seed_;
  uint64_t counter_ = 0;
};

}  // namespace steelyard
