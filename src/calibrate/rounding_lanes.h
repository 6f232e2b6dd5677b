// How many workers a stage has on this machine. A worker on the processor has some threads. A worker with a device has
// a thread that prepares a matrix for it, which is factors and targets, and judges the results. Several of them share a
// device: while one's matrix is on it, the others prepare theirs.
#pragma once

#include <cstdint>

namespace steelyard::calibrate {

struct RoundingLanes {
  int on_processor = 1;
  int on_devices = 0;       ///< of all of them, in turn
  int threads_of_each = 1;  ///< for parallel loops
};

/// Workers of any kind, at most.
int most_lanes(int n_threads, int n_devices);

/// most: as memory allows. n_equal: the cost of all tasks over that of the largest, for which no worker should have to
/// wait alone. on_device: part of its time that a worker with a device has spent on it; 0: not known.
RoundingLanes plan_lanes(int n_threads, int n_devices, int64_t most, double n_equal, double on_device);

}  // namespace steelyard::calibrate
