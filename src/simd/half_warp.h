// The vocabulary of simd.h for devices: half a warp is one register of 16 lanes, and each lane is a thread. Floats is
// the thread's own number of the 16. What is one number for all lanes (float, int) every thread has in a register of
// its own, with the same bits.
//
// Objects in Common memory are in shared memory, of which each half warp has a stack. Verbs that write memory (store,
// put, once, assign, each) wait for all lanes before and after, so a lane finds what another has written. The threads
// of a half warp go through the same branches. Halves of one warp need not meet.
//
// The file of the kernel defines the instructions that are declared here (compute/cuda/half_warp.cuh).
#pragma once

#include <cmath>
#include <cstddef>
#include <new>

#include "simd/plain_bytes.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 16;
inline constexpr bool kLanesAreThreads = true;

using Floats = float;
using Ints = int32_t;
using Words = uint32_t;

// ---- instructions

STEELYARD_HD inline int this_lane();
/// Waits for all lanes, and for what they have written.
STEELYARD_HD inline void meet();
/// The number that a lane has, in all lanes; and that of the lane this_lane() ^ step.
STEELYARD_HD inline float from_lane(float value, int lane);
STEELYARD_HD inline float from_partner(float value, int step);
/// Bit l: whether lane l says so.
STEELYARD_HD inline uint32_t vote(bool own);
/// The least of 16 integers of at least 0, in all lanes.
STEELYARD_HD inline int least_of_lanes(int own);
STEELYARD_HD inline int first_lane(uint32_t bits);
/// The memory that half warps share, and where in it the stack of this one ends, which every thread keeps for itself.
/// set_common_top ends the kernel where an object does not fit.
STEELYARD_HD inline std::byte* common_memory();
STEELYARD_HD inline uint32_t common_top();
STEELYARD_HD inline void set_common_top(uint32_t top);

// ---- memory

template <class T>
concept CountsUsedBytes = requires {
  &T::used_bytes;
};

template <class T>
class Common {
 public:
  STEELYARD_HD Common() : at_(push(sizeof(T))) { meet(); }  // what is in it stays undefined
  /// Every lane runs the constructor. Of an object whose end may be of no use there is only what is used.
  template <class First, class... Rest>
  STEELYARD_HD explicit Common(First first, Rest... rest) : at_(push(bytes_of(first, rest...))) {
    meet();
    new (common_memory() + at_) T(first, rest...);
    meet();
  }
  STEELYARD_HD ~Common() { set_common_top(at_); }
  Common(const Common&) = delete;
  Common& operator=(const Common&) = delete;

  STEELYARD_HD T& operator*() const { return *reinterpret_cast<T*>(common_memory() + at_); }
  STEELYARD_HD T* operator->() const { return &**this; }

 private:
  template <class... Arguments>
  STEELYARD_HD static size_t bytes_of(Arguments... arguments) {
    if constexpr (CountsUsedBytes<T>) {
      return T::used_bytes(arguments...);
    } else {
      return sizeof(T);
    }
  }
  STEELYARD_HD static uint32_t push(size_t bytes) {
    const uint32_t at = common_top();
    set_common_top(at + (static_cast<uint32_t>(bytes) + 15) / 16 * 16);
    return at;
  }

  const uint32_t at_;
};

/// Number i is in lane i % kLanes.
template <int n>
class LaneArray {
 public:
  STEELYARD_HD Floats get(int first) const { return values_[first / kLanes]; }
  STEELYARD_HD void put(int first, Floats v) { values_[first / kLanes] = v; }
  template <class F>
  STEELYARD_HD void fill(const F& value) {
    for (int part = 0; part < kParts; ++part) values_[part] = value(part * kLanes + this_lane());
  }
  STEELYARD_HD float operator[](int i) const { return from_lane(part_of(i), i % kLanes); }
  STEELYARD_HD float own(int i) const { return part_of(i); }
  STEELYARD_HD void set(int i, float value) {
    for (int part = 0; part < kParts; ++part) {
      if (i == part * kLanes + this_lane()) values_[part] = value;
    }
  }

 private:
  static_assert(n % kLanes == 0 && n <= 2 * kLanes);
  static constexpr int kParts = n / kLanes;
  STEELYARD_HD float part_of(int i) const { return kParts == 1 || i < kLanes ? values_[0] : values_[kParts - 1]; }

  float values_[kParts] = {};
};

template <class F>
STEELYARD_HD void once(const F& body) {
  meet();
  if (this_lane() == 0) body();
  meet();
}
template <class T, class V>
STEELYARD_HD void assign(T& place, const V& value) {
  once([&] { place = value; });
}
template <class F>
STEELYARD_HD void each(int n, const F& body) {
  meet();
  for (int i = this_lane(); i < n; i += kLanes) body(i);
  meet();
}

/// A lane makes a digit. Neighbours join theirs, then pairs.
template <int n, class F>
STEELYARD_HD int number_of_digits(int base, const F& digit) {
  static_assert(n <= kLanes && (n & (n - 1)) == 0);
  auto number = static_cast<float>(digit(this_lane() % n));
  auto power = static_cast<float>(base);
  for (int step = 1; step < n; step *= 2, power *= power) {
    const float other = from_partner(number, step);
    number = (this_lane() & step) == 0 ? number * power + other : other * power + number;
  }
  return static_cast<int>(number);
}

// ---- Floats, Ints, Words

STEELYARD_HD inline Floats broadcast(float value) { return value; }
STEELYARD_HD inline Floats load(const float* p) { return p[this_lane()]; }
STEELYARD_HD inline Floats load(const int8_t* p) { return p[this_lane()]; }
STEELYARD_HD inline void store(Floats v, float* p) {
  meet();
  p[this_lane()] = v;
  meet();
}
STEELYARD_HD inline void store(Words v, uint32_t* p) {
  meet();
  p[this_lane()] = v;
  meet();
}
STEELYARD_HD inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
STEELYARD_HD inline Floats square_root(Floats v) { return sqrtf(v); }
/// |v| < 2^22; a half goes to the even one. Adding a large constant leaves no room for a fraction.
STEELYARD_HD inline Floats nearest_integer(Floats v) { return (v + 0x1.8p23f) - 0x1.8p23f; }
STEELYARD_HD inline Floats clamp(Floats v, float low, float high) {
  const float below = v < high ? v : high;
  return below > low ? below : low;
}
STEELYARD_HD inline Words to_codes(Floats v) { return static_cast<uint32_t>(v); }
STEELYARD_HD inline Floats to_floats(Ints v) { return static_cast<float>(v); }
STEELYARD_HD inline uint32_t lane_bits(Ints mask) { return vote(mask != 0); }
STEELYARD_HD inline int least_index(Ints mask, Ints first) {
  return least_of_lanes(mask != 0 ? first + this_lane() : 0x7FFFFFFF);
}

template <class Fold>
STEELYARD_HD float fold_lanes(Floats v, const Fold& fold) {
  for (int step = kLanes / 2; step > 0; step /= 2) v = fold(v, from_partner(v, step));
  return from_lane(v, 0);  // zeros of both signs may have been folded in another order elsewhere
}

template <int n>
STEELYARD_HD Floats look_up(const float* table, Ints index) {
  return table[index & (n - 1)];
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
