// Fibers: their stacks, each over a guard page, and the switch between them, which saves what the System V ABI of
// x86-64 lets a callee keep.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cuda_emulator/scheduler.h"

static_assert(sizeof(void*) == 8, "the emulator runs on x86-64 only");

asm(R"(
.text
.globl cuda_emulator_switch
.type cuda_emulator_switch,@function
cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulator_switch,.-cuda_emulator_switch
.globl cuda_emulator_entry
.type cuda_emulator_entry,@function
cuda_emulator_entry:
  .cfi_startproc
  .cfi_undefined rip
  xorl %ebp, %ebp
  call cuda_emulator_thread_main
  ud2
  .cfi_endproc
.size cuda_emulator_entry,.-cuda_emulator_entry
.section .note.GNU-stack,"",@progbits
.text
)");

extern "C" void cuda_emulator_entry();

namespace steelyard::cuda_emulator {
namespace {

#ifdef CUDA_EMULATOR_ASAN
constexpr size_t kStack = 256 * 1024;
#else
constexpr size_t kStack = 64 * 1024;
#endif

char* stacks = nullptr;
size_t stack_each = 0;
unsigned stack_count = 0;

}  // namespace

size_t page_size() {
  static const auto size = size_t(sysconf(_SC_PAGESIZE));
  return size;
}

void ensure_stacks(unsigned n, size_t extra) {
  const size_t wanted =
      (config().stack_bytes ? config().stack_bytes : kStack) + (extra + page_size() - 1) / page_size() * page_size();
  if (stacks && stack_count >= n && stack_each >= wanted) return;
  if (stacks) munmap(stacks, (stack_each + page_size()) * stack_count);
  stack_each = std::max(stack_each, wanted);
  stack_count = std::max(n, 1024u);
  const size_t step = wanted + page_size();
  void* memory =
      mmap(nullptr, step * stack_count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("cuda emulator: cannot map stacks");
    abort();
  }
  stacks = static_cast<char*>(memory);
  for (unsigned i = 0; i < stack_count; ++i) mprotect(stacks + step * i, page_size(), PROT_NONE);
}

void forget([[maybe_unused]] char* p, [[maybe_unused]] size_t n) {
#ifdef CUDA_EMULATOR_TSAN  // its mmap interceptor resets what it knows of the memory
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  if (mmap(p, n, PROT_READ | PROT_WRITE, kFlags, -1, 0) != p) abort();
#endif
}

void init_fiber(Thread& t, unsigned index) {
  char* lo = stacks + (stack_each + page_size()) * index + page_size();
  forget(lo, stack_each);
  t.stack_lo = lo;
  t.stack_size = stack_each;
  ASAN_UNPOISON_MEMORY_REGION(lo, stack_each);
  // Tops at different offsets: page-aligned stacks would all fall into the same sets of the first level cache.
  auto** sp = reinterpret_cast<void**>(lo + stack_each - 64 - (index & 63) * 192);
  sp = reinterpret_cast<void**>(uintptr_t(sp) & ~uintptr_t(63));
  *--sp = nullptr;
  *--sp = nullptr;  // keeps rsp a multiple of 16 at the call in cuda_emulator_entry
  *--sp = reinterpret_cast<void*>(&cuda_emulator_entry);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  t.sp = sp;
#ifdef CUDA_EMULATOR_TSAN
  t.sanitizer_fiber = __tsan_create_fiber(0);
#endif
}

}  // namespace steelyard::cuda_emulator
