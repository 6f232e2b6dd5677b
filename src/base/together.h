// Work that is done at the same time by threads that wait for each other, or for devices: each has a thread of its own
// for as long as it lasts. Loops over pieces of work are parallel.h.
#pragma once

#include <cstddef>
#include <functional>

namespace steelyard {

/// Calls body(i) for every i in [0, n) at the same time: body(0) on the calling thread, the others each on a new one. A
/// parallel_for inside of them has `threads_of_each` threads. Returns when all have; rethrows the first exception.
void run_together(size_t n, int threads_of_each, const std::function<void(size_t i)>& body);

}  // namespace steelyard
