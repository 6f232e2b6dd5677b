// The grid at work: blocks, warps, threads, the queue of threads that can run, and the switch between fibers. Private
// to the engine. Launches follow each other (runtime.cc holds a lock), so there is one of everything.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "cuda_emulator/engine.h"
#include "cuda_emulator/sanitizers.h"

namespace steelyard::cuda_emulator {

inline constexpr size_t kStaticMax = 48 * 1024, kStaticArena = 128 * 1024, kDynArena = 256 * 1024;
inline constexpr int kBarriers = 16;

enum State { kRunnable, kInBarrier, kInCollective, kExited };

/// xorshift64*.
struct Random {
  uint64_t state;
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1Dull;
  }
  uint32_t below(uint32_t n) { return uint32_t((uint64_t(uint32_t(next() >> 32)) * n) >> 32); }
};

/// An operation of a warp that waits for the rest of its lanes.
struct Slot {
  uint32_t mask = 0, arrived = 0;
  int op = 0;
  unsigned generation = 0;
  void* args[32];
  Site site;
};

struct Barrier {
  int arrived = 0, kind = 0;
  int any = 0, all = 1, count = 0;
  int result = 0;
  Site site{};
  std::vector<Thread*> waiters;
  unsigned generation = 0;
  char order[2];  // tokens of happens_before
};

struct Warp {
  uint32_t priority = 0, exists = 0, exited = 0;
  Thread* lanes[32];
  Slot slots[32];
  uint32_t used = 0;  // slots
  unsigned generation = 0;
  char order[8];
};

struct SharedVariable {
  const void* key;
  char* p;
  size_t n;
};

struct Block {
  uint3 bid;
  unsigned live = 0, threads = 0;
  std::vector<Warp> warps;
  Barrier barriers[kBarriers];
  char* arena = nullptr;  // [static kStaticArena][guard][... dynamic][guard]
  std::vector<SharedVariable> vars;
  size_t static_used = 0;
  char* dyn = nullptr;
  size_t dyn_size = 0;
};

/// Asynchronous copies that a thread began and has not waited for, by group.
struct CopyQueue {
  struct Copy {
    void* dst;
    const void* src;
    int bytes, src_bytes;
  };
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> open;
};

struct Grid {
  const Launch* launch = nullptr;
  std::vector<Thread> threads;
  std::vector<CopyQueue> copies;  // one per thread
  std::vector<Block> blocks;
  std::vector<Thread*> queue;  // a ring whose size is a power of two
  size_t head = 0, tail = 0;
  unsigned live = 0;
  uint64_t switches = 0;
  bool failed = false;
  std::string message;
  pthread_t owner{};
  void* host_sp = nullptr;
  void* host_fiber = nullptr;
  const void* host_stack = nullptr;
  size_t host_stack_size = 0;
  char order_launch, order_done, order_fence;
};
extern Grid grid;
extern Random random_source;

size_t page_size();

// ---- fiber.cc

/// Stacks for n fibers, with `extra` bytes beyond what compiled code needs.
void ensure_stacks(unsigned n, size_t extra);
void init_fiber(Thread& thread, unsigned index);
/// Memory that a new block takes over from an earlier one: ThreadSanitizer forgets who used it.
void forget(char* p, size_t n);
extern "C" void cuda_emulator_switch(void** save, void* load);

/// Null: the host.
inline void switch_to(Thread* to) {
  Thread* from = current_thread;
  current_thread = to;
  ++grid.switches;
#ifdef CUDA_EMULATOR_TSAN
  __tsan_switch_to_fiber(to ? to->sanitizer_fiber : grid.host_fiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef CUDA_EMULATOR_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(from && from->state == kExited ? nullptr : &fake, to ? to->stack_lo : grid.host_stack,
                                 to ? to->stack_size : grid.host_stack_size);
#endif
  cuda_emulator_switch(from ? &from->sp : &grid.host_sp, to ? to->sp : grid.host_sp);
#ifdef CUDA_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

// ---- scheduler.cc

inline void push(Thread* t) { grid.queue[grid.tail++ & (grid.queue.size() - 1)] = t; }
inline void make_runnable(Thread* t) {
  t->state = kRunnable;
  push(t);
}
Thread* pop();
/// Runs another thread; the current one is parked, queued or has exited.
void reschedule();
/// Queues the thread again half of the time, so that under Order::kRandom the last to arrive does not always run first.
inline void maybe_reschedule() {
  if (config().order != Order::kRandom || !(random_source.next() & 1)) return;
  push(current_thread);
  reschedule();
}
void release(Barrier& barrier, Thread* self);
void abort_run(std::string message);
[[noreturn]] void to_host_forever();
std::string where(const Thread* t);
std::string to_string(const Site& site);
const char* op_name(int op);

inline void need_capability(int needed, const char* what) {
  if (config().compute_capability < needed) {
    fail("%s needs sm_%d, emulated device is sm_%d", what, needed, config().compute_capability);
  }
}

}  // namespace steelyard::cuda_emulator
