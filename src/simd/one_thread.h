// The words of simd.h for memory, where one thread has all lanes: plain objects and plain loops. half_warp.h has the
// same for lanes that are threads.
#pragma once

#include "simd/host_device.h"
#include "simd/this_target.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr bool kLanesAreThreads = false;

template <class T>
class Common {
 public:
  STEELYARD_HD Common() {}  // what is in it stays undefined
  template <class First, class... Rest>
  STEELYARD_HD explicit Common(First first, Rest... rest) : object_(first, rest...) {}
  Common(const Common&) = delete;
  Common& operator=(const Common&) = delete;

  STEELYARD_HD T& operator*() { return object_; }
  STEELYARD_HD T* operator->() { return &object_; }

 private:
  T object_;
};

template <int n>
class LaneArray {
 public:
  STEELYARD_HD Floats get(int first) const { return load(values_ + first); }
  STEELYARD_HD void put(int first, const Floats& v) { store(v, values_ + first); }
  template <class F>
  STEELYARD_HD void fill(const F& value) {
    for (int i = 0; i < n; ++i) values_[i] = value(i);
  }
  STEELYARD_HD float operator[](int i) const { return values_[i]; }
  STEELYARD_HD float own(int i) const { return values_[i]; }
  STEELYARD_HD void set(int i, float value) { values_[i] = value; }

 private:
  alignas(64) float values_[n];
};

template <class F>
STEELYARD_HD void once(const F& body) {
  body();
}
template <class T, class V>
STEELYARD_HD void assign(T& place, const V& value) {
  place = value;
}
template <class F>
STEELYARD_HD void each(int n, const F& body) {
  for (int i = 0; i < n; ++i) body(i);
}

template <int n, class F>
STEELYARD_HD int number_of_digits(int base, const F& digit) {
  int digits[n];
  for (int i = 0; i < n; ++i) digits[i] = digit(i);
  int number = 0;
  for (int i = 0; i < n; ++i) number = number * base + digits[i];
  return number;
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
