// A grid from launch to end: blocks in the order asked for, some of them resident side by side, each with poisoned
// shared memory.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "cuda_emulator/collective.h"
#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator {

extern "C" __attribute__((used)) void cuda_emulator_thread_main() {
#ifdef CUDA_EMULATOR_ASAN
  __sanitizer_finish_switch_fiber(nullptr, grid.host_stack ? nullptr : &grid.host_stack,
                                  grid.host_stack ? nullptr : &grid.host_stack_size);
#endif
  happens_after(&grid.order_launch);
  try {
    grid.launch->invoke(grid.launch->pack);
  } catch (...) {
    abort_run("C++ exception left the kernel");
    to_host_forever();
  }
  Thread* t = current_thread;
  Block& block = *t->block;
  Warp& warp = *t->warp;
  t->state = kExited;
  happens_before(&grid.order_done);
  warp.exited |= 1u << t->lane;
  for_lanes(warp.used, [&](int i) {
    const Slot& slot = warp.slots[i];
    if (slot.mask >> t->lane & 1) {
      fail("lane %u exited while %s at %s waits for it (mask %08x)", t->lane, op_name(slot.op),
           to_string(slot.site).c_str(), slot.mask);
    }
  });
  --block.live;
  --grid.live;
  Barrier& bar = block.barriers[0];
  if (bar.arrived && !config().exited_ok) {
    fail("returned while %d thread(s) wait in __syncthreads at %s", bar.arrived, to_string(bar.site).c_str());
  }
  if (bar.arrived && bar.arrived == int(block.live)) release(bar, nullptr);
  reschedule();
  __builtin_trap();
}

namespace {

// [static][guard][... dynamic][guard]
void map_arena(Block& block) {
  const size_t page = page_size();
  block.arena = static_cast<char*>(
      mmap(nullptr, kStaticArena + kDynArena + 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(block.arena + kStaticArena, page, PROT_NONE);
  mprotect(block.arena + kStaticArena + page + kDynArena, 2 * page, PROT_NONE);
  memset(block.arena, config().poison, kStaticArena);
}

// Dynamic shared memory ends, but for alignment, at the guard.
void init_shared(Block& block, size_t dyn_size) {
  if (!block.arena) map_arena(block);
  char* dyn_begin = block.arena + kStaticArena + page_size();
  char* dyn_end = dyn_begin + kDynArena;
  forget(block.arena, kStaticArena);
  forget(dyn_begin, kDynArena);
#ifdef CUDA_EMULATOR_TSAN
  block.static_used = kStaticMax;  // forgetting has cleared it all
#endif
  ASAN_UNPOISON_MEMORY_REGION(block.arena, kStaticArena);
  ASAN_UNPOISON_MEMORY_REGION(dyn_begin, kDynArena);
  memset(block.arena, config().poison, std::min(block.static_used, kStaticArena));
  block.vars.clear();
  block.static_used = 0;
  block.dyn_size = dyn_size;
  block.dyn = reinterpret_cast<char*>(uintptr_t(dyn_end - dyn_size) & ~uintptr_t(127));
  if (dyn_size) memset(block.dyn, config().poison, size_t(dyn_end - block.dyn));
  ASAN_POISON_MEMORY_REGION(block.arena, kStaticArena);
  ASAN_POISON_MEMORY_REGION(dyn_begin, size_t(block.dyn - dyn_begin));
  ASAN_POISON_MEMORY_REGION(block.dyn + dyn_size, size_t(dyn_end - block.dyn) - dyn_size);
}

void unpoison(Block& block) {
  ASAN_UNPOISON_MEMORY_REGION(block.arena, kStaticArena);
  ASAN_UNPOISON_MEMORY_REGION(block.arena + kStaticArena + page_size(), kDynArena);
}

void init_block(Block& block, uint3 bid, const Launch& launch, unsigned n_threads, unsigned first) {
  Quiet quiet;
  block.bid = bid;
  block.live = block.threads = n_threads;
  block.warps.resize((n_threads + 31) / 32);
  for (Warp& warp : block.warps) {
    warp.exists = warp.exited = warp.used = 0;
    warp.priority = uint32_t(random_source.next());
  }
  for (Barrier& bar : block.barriers) {
    bar.arrived = bar.any = bar.count = 0;
    bar.all = 1;
    bar.waiters.clear();
    bar.site = {};
  }
  init_shared(block, launch.dyn_smem);
  for (unsigned i = 0; i < n_threads; ++i) {
    Thread& t = grid.threads[first + i];
    t.tid = {i % launch.block.x, (i / launch.block.x) % launch.block.y, i / (launch.block.x * launch.block.y)};
    t.bid = bid;
    t.linear = i;
    t.lane = i & 31;
    t.block = &block;
    t.warp = &block.warps[i / 32];
    t.state = kRunnable;
    t.wait_what = nullptr;
    t.wait_mask = 0;
    t.warp->exists |= 1u << t.lane;
    t.warp->lanes[t.lane] = &t;
    CopyQueue& copies = grid.copies[first + i];
    if (!copies.groups.empty()) copies.groups.clear();
    copies.open.clear();
    init_fiber(t, first + i);
  }
}

std::string check_end(const Block& block) {
#ifndef CUDA_EMULATOR_ASAN  // which sees it itself
  for (const char* p = block.dyn + block.dyn_size; block.dyn_size && uintptr_t(p) % 128; ++p) {
    if (uint8_t(*p) != config().poison) {
      return "write past the end of dynamic shared memory (" + std::to_string(block.dyn_size) + " bytes)";
    }
  }
#endif
  return {};
}

// Memory and state for a launch of `resident` blocks at a time.
void prepare(const Launch& launch, unsigned resident, unsigned n_threads) {
  const unsigned total = resident * n_threads;
  ensure_stacks(total, launch.stack_bytes);
  if (grid.threads.size() < total) {
    grid.threads.resize(total);
    grid.copies.resize(total);
  }
  if (grid.blocks.size() < resident) grid.blocks.resize(resident);
  size_t capacity = 1;
  while (capacity < total + 1) capacity *= 2;
  if (grid.queue.size() < capacity) grid.queue.assign(capacity, nullptr);
  grid.launch = &launch;
  grid.failed = false;
  grid.message.clear();
  grid.switches = 0;
  grid.host_stack = nullptr;
  grid.owner = pthread_self();
  current_block_dim = launch.block;
  current_grid_dim = launch.grid;
  random_source.state = config().seed * 0x9E3779B97F4A7C15ull | 1;
  random_source.next();
}

std::vector<uint32_t> block_order(uint64_t n_blocks) {
  std::vector<uint32_t> order(n_blocks);
  std::iota(order.begin(), order.end(), 0u);
  if (config().order == Order::kReverse) std::ranges::reverse(order);
  if (config().order == Order::kRandom) {
    for (size_t i = n_blocks; i > 1; --i) std::swap(order[i - 1], order[random_source.below(uint32_t(i))]);
  }
  return order;
}

// The first n resident blocks, to their end.
void run_resident(unsigned n, unsigned n_threads) {
  const unsigned total = n * n_threads;
  grid.live = total;
  for (unsigned i = 0; i < total; ++i) {
    push(&grid.threads[config().order == Order::kReverse ? total - 1 - i : i]);
  }
  stats().threads += total;
  stats().blocks += n;
  switch_to(pop());
  current_thread = nullptr;
  for (unsigned k = 0; k < n && !grid.failed; ++k) {
    if (std::string error = check_end(grid.blocks[k]); !error.empty()) abort_run(std::move(error));
  }
  for (unsigned k = 0; k < n; ++k) unpoison(grid.blocks[k]);
#ifdef CUDA_EMULATOR_TSAN
  for (unsigned i = 0; i < total; ++i) __tsan_destroy_fiber(grid.threads[i].sanitizer_fiber);
#endif
}

}  // namespace

std::string run_grid(const Launch& launch) {
  if (current_thread) return "nested kernel launch";
  const unsigned n_threads = launch.block.x * launch.block.y * launch.block.z;
  const uint64_t n_blocks = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  if (!n_threads || n_threads > 1024 || launch.block.z > 64) return "invalid block size";
  if (!n_blocks || launch.grid.x > 0x7FFFFFFFu || launch.grid.y > 65535 || launch.grid.z > 65535) {
    return "invalid grid size";
  }
  const auto resident = unsigned(std::min<uint64_t>(n_blocks, uint64_t(std::max(1, config().resident_blocks))));
  prepare(launch, resident, n_threads);
  const std::vector<uint32_t> order = block_order(n_blocks);
#ifdef CUDA_EMULATOR_TSAN
  grid.host_fiber = __tsan_get_current_fiber();
#endif
  happens_before(&grid.order_launch);
  for (uint64_t begin = 0; begin < n_blocks && !grid.failed; begin += resident) {
    const auto n = unsigned(std::min<uint64_t>(resident, n_blocks - begin));
    grid.head = grid.tail = 0;
    for (Thread& t : grid.threads) t.block = nullptr;
    for (unsigned k = 0; k < n; ++k) {
      const uint32_t id = order[begin + k];
      const uint3 bid{id % launch.grid.x, id / launch.grid.x % launch.grid.y, id / (launch.grid.x * launch.grid.y)};
      init_block(grid.blocks[k], bid, launch, n_threads, k * n_threads);
    }
    run_resident(n, n_threads);
  }
  happens_after(&grid.order_done);
  stats().switches += grid.switches;
  return grid.failed ? std::string(launch.name ? launch.name : "kernel") + ": " + grid.message : std::string();
}

}  // namespace steelyard::cuda_emulator
