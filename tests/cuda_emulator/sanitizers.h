// The sanitizers' hooks, or nothing. Bookkeeping of the engine is hidden from ThreadSanitizer; only the order that CUDA
// promises (launch, __syncthreads, __syncwarp, fences) is declared to it, so that it finds the races of kernels.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(a, n) ((void)(a), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(a, n) ((void)(a), (void)(n))
#endif

#ifdef CUDA_EMULATOR_TSAN  // by the build: the engine itself is not instrumented
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreWritesBegin(const char*, int);  // ignores reads as well
extern "C" void AnnotateIgnoreWritesEnd(const char*, int);
extern "C" void __tsan_read_range(void*, unsigned long);
#endif

namespace steelyard::cuda_emulator {

/// Hides what the engine does within a scope. The state is kept per fiber, so it survives switches.
struct Quiet {
#ifdef CUDA_EMULATOR_TSAN
  Quiet() { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~Quiet() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
#else
  Quiet() {}
#endif
};

inline void happens_before([[maybe_unused]] void* token) {
#ifdef CUDA_EMULATOR_TSAN
  __tsan_release(token);
#endif
}
inline void happens_after([[maybe_unused]] void* token) {
#ifdef CUDA_EMULATOR_TSAN
  __tsan_acquire(token);
#endif
}

}  // namespace steelyard::cuda_emulator
