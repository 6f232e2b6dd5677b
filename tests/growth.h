// How the time of a piece of work grows with its input, for tests of code that reads foreign input: it must not grow
// with the input's square.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>

namespace steelyard::test {

/// Seconds of this thread's processor, which other programs do not use up.
inline double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline constexpr size_t kGrowth = 8;

/// The time of use(make(8 n)) as a multiple of that of use(make(n)): about 8 where the time grows with the input, 64
/// where it grows with its square. Of three tries each the fastest counts, because caches and other programs disturb
/// some. n: so large that the work takes a millisecond or so.
template <typename Make, typename Use>
double growth(size_t n, const Make& make, const Use& use) {
  const auto seconds = [&](size_t size) {
    const auto input = make(size);
    double least = 1e9;
    for (int i = 0; i < 3; ++i) {
      const double begin = thread_seconds();
      use(input);
      least = std::min(least, thread_seconds() - begin);
    }
    return least;
  };
  const double small = seconds(n), large = seconds(kGrowth * n);
  return large / std::max(small, 1e-6);
}

/// Between 8 and 64, with room for what larger inputs cost in caches.
inline constexpr double kAboutLinear = 26;

}  // namespace steelyard::test
