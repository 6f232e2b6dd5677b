// What a test may choose about the emulated machine: schedules, architecture, strictness. Read at every launch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace steelyard::cuda_emulator {

/// In which order blocks and threads run. Odd seeds choose uniformly; even ones give warps random priorities that are
/// drawn anew now and then, so that one warp runs far ahead of another.
enum class Order { kForward, kReverse, kRandom };

/// How tensor cores round what they add up. kFp32: products and sums in order, by fmaf. kSm80, kSm90: terms aligned to
/// the largest and truncated (Xie et al., "MMA-Sim", arXiv 2511.10909).
enum class MmaMode { kFp32, kSm80, kSm90 };

struct Config {
  Order order = Order::kForward;
  uint64_t seed = 1;
  int resident_blocks = 1;         ///< blocks at work side by side
  bool preempt_at_atomics = true;  ///< with Order::kRandom
  uint8_t poison = 0xFF;           ///< fills fresh shared and device memory: NaN as floats, -1 as integers
  bool memcheck = true;            ///< device memory is out of reach but for a running kernel of its device
  bool strict_sites = true;        ///< __syncthreads and .aligned instructions come from one source line
  bool strict_mask = true;         ///< a mask that names missing or exited lanes is an error
  bool exited_ok = false;          ///< __syncthreads after some thread of the block returned
  bool lazy_streams = true;        ///< work of streams runs as late, and as reordered, as is legal
  int compute_capability = 80;     ///< times 10
  MmaMode mma = MmaMode::kFp32;
  size_t stack_bytes = 0;     ///< of a fiber; 0: enough
  uint64_t max_switches = 0;  ///< of a launch; 0: no limit
};
Config& config();

/// What ran so far.
struct Stats {
  uint64_t threads = 0, switches = 0, collectives = 0, barriers = 0, blocks = 0;
};
Stats& stats();

}  // namespace steelyard::cuda_emulator
