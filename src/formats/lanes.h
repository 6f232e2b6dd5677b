// Four floats side by side: the candidates of an encoder's search lie in the lanes of a vector, so that each lane sums
// the values of its candidate in order and every instruction set gives the same bytes.
#pragma once

#include <cstdint>
#include <cstring>

namespace steelyard {

/// A compiler vector (GCC and Clang): arithmetic, comparison and ?: work lane by lane.
using Lanes = float [[gnu::vector_size(16)]];
inline constexpr int kLanes = 4;

inline Lanes broadcast(float value) { return Lanes{value, value, value, value}; }

inline Lanes load(const float* values) {
  Lanes lanes;
  std::memcpy(&lanes, values, sizeof(lanes));
  return lanes;
}

inline void store(const Lanes& lanes, float* values) { std::memcpy(values, &lanes, sizeof(lanes)); }

inline bool any_positive(const Lanes& lanes) {
  using Halves = int64_t [[gnu::vector_size(16)]];
  const auto halves = reinterpret_cast<Halves>(lanes > Lanes{});
  return (halves[0] | halves[1]) != 0;
}

}  // namespace steelyard
