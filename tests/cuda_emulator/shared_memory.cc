// Shared memory of a block, and asynchronous copies to it, whose destination is poisoned until they are waited for.
#include <algorithm>
#include <cstring>

#include "cuda_emulator/memory.h"
#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator {

void* shared_slot(const void* key, size_t size, size_t align) {
  Quiet quiet;
  Block& block = *current_thread->block;
  for (const SharedVariable& var : block.vars) {
    if (var.key == key) return var.p;
  }
  align = std::max<size_t>(align, 16);
  const size_t offset = (block.static_used + align - 1) / align * align;
  block.static_used = offset + size;
  if (block.static_used > kStaticMax) fail("static shared memory %zu bytes exceeds 48 KiB", block.static_used);
#ifdef CUDA_EMULATOR_ASAN
  block.static_used += 64;  // a red zone, which the limit does not count
#endif
  char* p = block.arena + offset;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  block.vars.push_back({key, p, size});
  return p;
}

void* dyn_shared(size_t align) {
  const Block& block = *current_thread->block;
  if (!block.dyn_size) fail("kernel uses dynamic shared memory but was launched with 0 bytes");
  if (uintptr_t(block.dyn) % align) fail("dynamic shared memory alignment %zu not met", align);
  return block.dyn;
}

bool is_shared(const void* p, size_t n) {
  const Block& block = *current_thread->block;
  const auto* c = static_cast<const char*>(p);
  if (c >= block.dyn && c + n <= block.dyn + block.dyn_size) return true;
  return std::ranges::any_of(block.vars, [&](const SharedVariable& v) { return c >= v.p && c + n <= v.p + v.n; });
}

uint32_t shared_offset(const void* p) {
  if (!is_shared(p, 1)) fail("__cvta_generic_to_shared: pointer is not shared memory of this block");
  return uint32_t(static_cast<const char*>(p) - current_thread->block->arena);
}

void* shared_from_offset(uint32_t offset) { return current_thread->block->arena + offset; }

// ---- cp.async

namespace {

CopyQueue& own_copies() { return grid.copies[size_t(current_thread - grid.threads.data())]; }

// These accesses are the thread's own: ThreadSanitizer sees them.
void run(const std::vector<CopyQueue::Copy>& copies) {
  for (const CopyQueue::Copy& copy : copies) {
    memcpy(copy.dst, copy.src, size_t(copy.src_bytes));
    memset(static_cast<char*>(copy.dst) + copy.src_bytes, 0, size_t(copy.bytes - copy.src_bytes));
  }
}

}  // namespace

void cp_async(void* dst, const void* src, int bytes, int src_bytes) {
  need_capability(80, "cp.async");
  const auto n = size_t(bytes);
  if (n != 4 && n != 8 && n != 16) fail("cp.async size %d", bytes);
  if (!is_shared(dst, n)) fail("cp.async: destination is not shared memory of this block");
  if (uintptr_t(dst) % n || uintptr_t(src) % n) fail("cp.async: misaligned %d-byte copy", bytes);
  if (src_bytes && !memory::readable_on_device(src, size_t(src_bytes), grid.launch->device)) {
    fail("cp.async: source %p is not memory of device %d", src, grid.launch->device);
  }
  memset(dst, config().poison, n);
  Quiet quiet;
  own_copies().open.push_back({dst, src, bytes, src_bytes});
}

void cp_async_commit() {
  Quiet quiet;
  CopyQueue& queue = own_copies();
  queue.groups.push_back(std::move(queue.open));
  queue.open.clear();
}

void cp_async_wait(int pending_groups) {
  CopyQueue& queue = own_copies();
  while (int(queue.groups.size()) > pending_groups) {
    run(queue.groups.front());
    Quiet quiet;
    queue.groups.pop_front();
  }
}

}  // namespace steelyard::cuda_emulator
