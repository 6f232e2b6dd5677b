// Parallel loops over work that needs much memory: few pieces are at work at a time, and the threads that are left over
// share the loops inside of them.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

#include "base/parallel.h"

namespace steelyard {

/// Calls body(i) for every i in [0, n), in any order, at most n_at_once of them at the same time. A parallel_for inside
/// a body has an equal share of all threads. The first exception thrown by a body is rethrown here after the loop.
template <typename Body>
void parallel_for_few(int64_t n, int64_t n_at_once, const Body& body) {
  const int n_threads = omp_get_max_threads();
  const auto n_lanes = static_cast<int>(std::clamp<int64_t>(std::min(n, n_at_once), 1, n_threads));
  if (n_lanes == 1 || n_lanes == n_threads) {
    return parallel_for(n, n_lanes == 1 ? std::max<int64_t>(n, 1) : 1, body);
  }
  std::exception_ptr failure = nullptr;
  const int n_levels = omp_get_max_active_levels();
  omp_set_max_active_levels(2);
#pragma omp parallel num_threads(n_lanes)
  {
    omp_set_num_threads(n_threads / n_lanes + (omp_get_thread_num() < n_threads % n_lanes ? 1 : 0));
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n; ++i) {
      try {
        body(i);
      } catch (...) {
#pragma omp critical(steelyard_parallel_failure)
        if (!failure) failure = std::current_exception();
      }
    }
  }
  omp_set_max_active_levels(n_levels);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace steelyard
