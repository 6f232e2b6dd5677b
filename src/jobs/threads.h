// How many threads a job works with.
#pragma once

namespace steelyard::jobs {

/// Limit of --threads. More threads would exhaust the address space before they did any work.
inline constexpr int kMaxThreads = 1024;

/// Sets the number of threads for all parallel loops; 0: all cores. Returns how many there are. Error out of range.
int use_threads(int threads);

}  // namespace steelyard::jobs
