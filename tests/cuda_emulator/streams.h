// Streams as queues. With lazy_streams nothing runs before something waits for it, and under Order::kRandom the ready
// heads of different streams run in random order: a missing synchronisation shows as a wrong result.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

/// Work up to a number of a stream.
using CUdependency = std::pair<CUstream_st*, uint64_t>;

struct CUwork {
  std::function<void()> run;
  std::vector<CUdependency> after;
};

struct CUstream_st {
  int device;
  bool nonblocking;
  std::deque<CUwork> queue;
  uint64_t enqueued = 0, done = 0;
  std::vector<CUdependency> waits;  // of the next work
};

struct CUevent_st {
  CUstream_st* stream = nullptr;
  uint64_t number = 0;
};

namespace steelyard::cuda_emulator {

/// Every call of the runtime holds it: launches follow each other.
extern std::recursive_mutex runtime_mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

extern thread_local int chosen_device;
/// The first failure of a kernel: every later call reports it, as CUDA does.
extern cudaError_t sticky_error;

/// Remembers and returns an error.
cudaError_t report(cudaError_t error, std::string message = {});
void set_sticky(cudaError_t error, std::string message);

/// The stream itself, or the default stream of the chosen device.
CUstream_st* resolve(cudaStream_t stream);
CUstream_st* make_stream(bool nonblocking);
bool destroy_stream(CUstream_st* stream);
void forget_streams();
bool is_default(const CUstream_st* stream);

void enqueue(CUstream_st* stream, std::function<void()> work);
void run_until(CUstream_st* stream, uint64_t number);
inline void drain(CUstream_st* stream) { run_until(stream, stream->enqueued); }
/// All streams of a device, or with -1 of all devices.
void drain_device(int device);

}  // namespace steelyard::cuda_emulator
