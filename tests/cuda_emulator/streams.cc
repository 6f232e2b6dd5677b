#include "cuda_emulator/streams.h"

#include <algorithm>
#include <memory>
#include <set>

#include "cuda_emulator/config.h"
#include "cuda_emulator/memory.h"

namespace steelyard::cuda_emulator {

std::recursive_mutex runtime_mutex;
thread_local int chosen_device = 0;
cudaError_t sticky_error = cudaSuccess;

namespace {

thread_local cudaError_t last_error = cudaSuccess;
std::string message;

std::vector<std::unique_ptr<CUstream_st>> defaults;  // one per device
std::set<CUstream_st*> streams;
std::vector<std::unique_ptr<CUstream_st>> dead;  // destroyed, but events may still name them

uint64_t random_state = 0;

uint32_t random_below(uint32_t n) {
  random_state ^= random_state << 7;
  random_state ^= random_state >> 9;
  return uint32_t(random_state % n);
}

std::vector<CUstream_st*> all_streams() {
  std::vector<CUstream_st*> all(streams.begin(), streams.end());
  for (const auto& stream : defaults) all.push_back(stream.get());
  return all;
}

bool ready(const CUstream_st* stream) {
  return !stream->queue.empty() && std::ranges::all_of(stream->queue.front().after, [](const CUdependency& each) {
    return each.first->done >= each.second;
  });
}

void run_head(CUstream_st* stream) {
  const CUwork work = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (sticky_error == cudaSuccess) work.run();
  ++stream->done;
}

void make_defaults() {
  if (!defaults.empty()) return;
  random_state = 88172645463325252ull ^ config().seed * 0x9E3779B97F4A7C15ull;
  for (int d = 0; d < memory::device_count(); ++d) defaults.emplace_back(new CUstream_st{d, false});
}

}  // namespace

cudaError_t report(cudaError_t error, std::string text) {
  if (error == cudaSuccess) return error;
  last_error = error;
  if (!text.empty()) message = std::move(text);
  return error;
}

void set_sticky(cudaError_t error, std::string text) {
  if (sticky_error != cudaSuccess) return;
  sticky_error = error;
  message = std::move(text);
}

const std::string& last_message() { return message; }

CUstream_st* resolve(cudaStream_t stream) {
  make_defaults();
  return stream ? stream : defaults[size_t(chosen_device)].get();
}

CUstream_st* make_stream(bool nonblocking) {
  make_defaults();
  return *streams.insert(new CUstream_st{chosen_device, nonblocking}).first;
}

bool destroy_stream(CUstream_st* stream) {
  drain_device(-1);
  if (!streams.erase(stream)) return false;
  dead.emplace_back(stream);
  return true;
}

void forget_streams() {
  for (CUstream_st* stream : streams) dead.emplace_back(stream);
  streams.clear();
  defaults.clear();
  sticky_error = last_error = cudaSuccess;
  message.clear();
  chosen_device = 0;
}

bool is_default(const CUstream_st* stream) {
  return std::ranges::any_of(defaults, [stream](const auto& each) { return each.get() == stream; });
}

// A blocking stream and the default one of its device wait for each other's earlier work.
void enqueue(CUstream_st* stream, std::function<void()> run) {
  CUwork work{std::move(run), std::move(stream->waits)};
  stream->waits.clear();
  if (is_default(stream)) {
    for (CUstream_st* other : streams) {
      if (!other->nonblocking && other->device == stream->device) work.after.push_back({other, other->enqueued});
    }
  } else if (!stream->nonblocking) {
    CUstream_st* own_default = defaults[size_t(stream->device)].get();
    work.after.push_back({own_default, own_default->enqueued});
  }
  stream->queue.push_back(std::move(work));
  ++stream->enqueued;
  if (!config().lazy_streams) drain(stream);
}

void run_until(CUstream_st* stream, uint64_t number) {
  while (stream->done < number) {
    if (config().order == Order::kRandom) {
      std::vector<CUstream_st*> candidates = all_streams();
      std::erase_if(candidates, [](const CUstream_st* each) { return !ready(each); });
      if (candidates.empty()) return set_sticky(cudaErrorUnknown, "streams wait for each other");
      run_head(candidates[random_below(uint32_t(candidates.size()))]);
    } else {
      const std::vector<CUdependency> after = stream->queue.front().after;
      for (const auto& [other, number_there] : after) run_until(other, number_there);
      run_head(stream);
    }
  }
}

void drain_device(int device) {
  make_defaults();
  for (CUstream_st* stream : all_streams()) {
    if (device < 0 || stream->device == device) drain(stream);
  }
}

}  // namespace steelyard::cuda_emulator

using namespace steelyard::cuda_emulator;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    default:
      return "cudaError";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaSuccess) return "no error";
  return message.empty() ? cudaGetErrorName(error) : message.c_str();
}

cudaError_t cudaGetLastError() { return sticky_error ? sticky_error : std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return sticky_error ? sticky_error : last_error; }
