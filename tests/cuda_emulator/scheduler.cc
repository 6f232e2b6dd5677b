// Which thread runs next, barriers, and what is said when no thread can.
#include "cuda_emulator/scheduler.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace steelyard::cuda_emulator {

Thread* current_thread = nullptr;
dim3 current_block_dim, current_grid_dim;
Grid grid;
Random random_source{1};

Config& config() {
  static Config config = [] {
    Config initial;
#ifdef CUDA_EMULATOR_TSAN
    initial.memcheck = false;
#endif
    return initial;
  }();
  return config;
}

Stats& stats() {
  static Stats stats;
  return stats;
}

namespace {

Thread*& at(size_t k) { return grid.queue[k & (grid.queue.size() - 1)]; }
uint32_t& priority(size_t k) { return at(k)->warp->priority; }

std::string deadlock_report() {
  std::string report = "deadlock: no runnable thread.";
  int shown = 0, exited = 0;
  for (const Thread& t : grid.threads) {
    if (!t.block) continue;
    if (t.state == kExited) {
      ++exited;
      continue;
    }
    if (shown++ >= 4) continue;
    char mask[32];
    snprintf(mask, sizeof mask, " mask %08x", t.wait_mask);
    report += "\n  " + where(&t) + " waits in " + (t.wait_what ? t.wait_what : "?") + " at " + to_string(t.wait_site) +
              (t.state == kInCollective ? mask : "");
  }
  return report + "\n  (" + std::to_string(shown) + " waiting, " + std::to_string(exited) + " exited)";
}

}  // namespace

Thread* pop() {
  if (grid.head == grid.tail) return nullptr;
  if (config().order == Order::kRandom) {
    const auto n = uint32_t(grid.tail - grid.head);
    size_t k = grid.head + random_source.below(n);
    if (!(config().seed & 1)) {
      for (int c = 0; c < 12; ++c) {
        const size_t j = grid.head + random_source.below(n);
        if (priority(j) > priority(k)) k = j;
      }
      if (!(random_source.next() & 511)) priority(k) = uint32_t(random_source.next());
    }
    std::swap(at(k), at(grid.head));
  }
  return at(grid.head++);
}

void reschedule() {
  Thread* next = pop();
  if (!next) {
    if (grid.live) abort_run(deadlock_report());
    if (current_thread->state == kExited || grid.failed) to_host_forever();
    switch_to(nullptr);
    return;
  }
  if (config().max_switches && grid.switches > config().max_switches) {
    abort_run("watchdog: too many context switches (livelock?)");
    to_host_forever();
  }
  if (next != current_thread) switch_to(next);
}

std::string where(const Thread* t) {
  char text[160];
  snprintf(text, sizeof text, "block (%u,%u,%u) thread (%u,%u,%u)", t->bid.x, t->bid.y, t->bid.z, t->tid.x, t->tid.y,
           t->tid.z);
  return text;
}

std::string to_string(const Site& site) {
  if (!site.file) return "?";
  const char* slash = strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

void abort_run(std::string message) {
  if (grid.failed) return;
  grid.failed = true;
  grid.message = std::move(message);
}

void to_host_forever() {
  switch_to(nullptr);
  __builtin_trap();
}

bool in_kernel() { return current_thread != nullptr && pthread_equal(grid.owner, pthread_self()); }

void fail(const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!current_thread) {
    fprintf(stderr, "cuda emulator: %s\n", text);
    abort();
  }
  abort_run(where(current_thread) + ": " + text);
  to_host_forever();
}

// ---- barriers

void release(Barrier& bar, Thread* self) {
  bar.result = bar.kind == kBarAnd ? bar.all : bar.kind == kBarOr ? bar.any : bar.count;
  bar.any = bar.count = bar.arrived = 0;
  bar.all = 1;
  bar.site = {};
  ++bar.generation;
  if (config().order == Order::kReverse) std::ranges::reverse(bar.waiters);
  for (Thread* t : bar.waiters) {
    if (t != self) make_runnable(t);
  }
  bar.waiters.clear();
  ++stats().barriers;
}

int barrier(int id, int count, BarrierKind kind, int predicate, Site site) {
  Quiet quiet;
  if (id < 0 || id >= kBarriers) fail("barrier number %d", id);
  Thread* t = current_thread;
  Block& block = *t->block;
  Barrier& bar = block.barriers[id];
  if (bar.arrived && config().strict_sites && (bar.site.line != site.line || bar.site.file != site.file)) {
    fail("barrier %d reached from different source lines: %s and %s (divergent __syncthreads)", id,
         to_string(bar.site).c_str(), to_string(site).c_str());
  }
  if (!count && !config().exited_ok && block.live != block.threads) {
    fail("__syncthreads at %s after %u thread(s) of the block returned", to_string(site).c_str(),
         block.threads - block.live);
  }
  bar.site = site;
  bar.kind = kind;
  bar.any |= predicate != 0;
  bar.all &= predicate != 0;
  bar.count += predicate != 0;
  // Two tokens in turn: a fast thread may arrive at the next barrier before a slow one has left this one.
  char* token = &bar.order[bar.generation & 1];
  happens_before(token);
  ++bar.arrived;
  bar.waiters.push_back(t);
  if (bar.arrived == (count ? count : int(block.live))) {
    release(bar, t);
    maybe_reschedule();
  } else {
    t->state = kInBarrier;
    t->wait_what = "__syncthreads";
    t->wait_site = site;
    reschedule();
  }
  happens_after(token);
  return bar.result;
}

void preempt_point() {
  if (config().order != Order::kRandom || !config().preempt_at_atomics || (random_source.next() & 3)) return;
  spin_yield();
}

void spin_yield() {
  push(current_thread);
  reschedule();
}

void fence() {
  preempt_point();
  happens_after(&grid.order_fence);
  happens_before(&grid.order_fence);
}

}  // namespace steelyard::cuda_emulator
