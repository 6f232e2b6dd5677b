// Parallel loops. The caller owns parallelism: no code below this header starts threads on its own.
#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>

namespace steelyard {

/// Number of worker threads that parallel_for uses. `requested` <= 0 means all cores.
inline int set_thread_count(int requested) {
  if (requested > 0) omp_set_num_threads(requested);
  return omp_get_max_threads();
}

/// Calls body(i) for every i in [0, n), in any order, on the OpenMP team. A thread takes `grain` neighbours at a time,
/// and a loop of no more than `grain` runs on the calling thread alone. The first exception thrown by a body is
/// rethrown here after the loop.
template <typename Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  std::exception_ptr failure = nullptr;
  const auto guarded = [&](int64_t i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(steelyard_parallel_failure)
      if (!failure) failure = std::current_exception();
    }
  };
  if (n <= grain) {  // an `if` clause would still make a team, of one
    for (int64_t i = 0; i < n; ++i) guarded(i);
  } else {
#pragma omp parallel for schedule(dynamic, grain)
    for (int64_t i = 0; i < n; ++i) guarded(i);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace steelyard
