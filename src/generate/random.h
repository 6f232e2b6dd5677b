// The random numbers of sampling. A counter-based generator: number i of a seed is a function of both. It is the same
// on every platform, which the distributions of <random> do not guarantee. Used by Sampler.
#pragma once

#include <cstdint>

namespace steelyard::generate {

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}

  /// SplitMix64 (Steele, Lea and Flood 2014): the mixed value of seed + i * golden ratio.
  uint64_t bits() {
    uint64_t z = seed_ + ++counter_ * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }

  /// Uniform in [0, 1): a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

 private:
  uint64_t seed_;
  uint64_t counter_ = 0;
};

}  // namespace steelyard::generate
