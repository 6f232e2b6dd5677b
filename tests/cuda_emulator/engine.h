// The engine: runs a grid on one host thread, one fiber per CUDA thread. A fiber gives up the processor only at a
// barrier, at an operation of its warp, or (Order::kRandom) at an atomic. What built-ins of CUDA need of it is here;
// include/ wraps it in their names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda_emulator/config.h"
#include "cuda_emulator/vector_types.h"

namespace steelyard::cuda_emulator {

/// Where in the source an operation stands: what messages name, and what strict_sites compares.
struct Site {
  const char* file;
  int line;
};
#define CUDA_EMULATOR_SITE ::steelyard::cuda_emulator::Site site = {__builtin_FILE(), __builtin_LINE()}

struct Block;
struct Warp;

/// One emulated CUDA thread.
struct Thread {
  uint3 tid, bid;
  unsigned linear, lane;
  Warp* warp;
  Block* block;
  void* sp;  // saved stack pointer
  int state;
  const char* wait_what;
  Site wait_site;
  uint32_t wait_mask;
  char* stack_lo;
  size_t stack_size;
  void* sanitizer_fiber;
};
extern Thread* current_thread;  ///< the running one; null outside of kernels
extern dim3 current_block_dim, current_grid_dim;

/// A grid to run: invoke(pack) is the kernel with its arguments.
struct Launch {
  const char* name;
  const void* func;
  dim3 grid, block;
  size_t dyn_smem;
  void (*invoke)(void*);
  void* pack;
  int device;
  size_t stack_bytes = 0;  ///< that a thread needs beyond what compiled code does
};

/// Runs a grid to completion. Empty on success, else the diagnosis.
std::string run_grid(const Launch& launch);
bool in_kernel();
/// Ends the running grid with a message that names block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// ---- the block

enum BarrierKind { kBarPlain, kBarAnd, kBarOr, kBarCount };
int barrier(int id, int count, BarrierKind kind, int predicate, Site site);
void preempt_point();
void spin_yield();
void fence();

// ---- the warp

enum class Shfl { kIdx, kUp, kDown, kXor };
uint32_t shfl32(Shfl kind, uint32_t mask, uint32_t value, int arg, int width, Site site);
uint64_t shfl64(Shfl kind, uint32_t mask, uint64_t value, int arg, int width, Site site);
void syncwarp(uint32_t mask, Site site);
enum class Vote { kBallot, kAny, kAll, kMatchAny };
uint32_t vote(Vote kind, uint32_t mask, uint64_t value, Site site);
enum class Red { kAddU, kAddS, kMinS, kMaxS, kMinU, kMaxU, kAnd, kOr, kXor };
uint32_t reduce(Red kind, uint32_t mask, uint32_t value, Site site);

// ---- tensor cores

void mma_m16n8k16(bool bf16, float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4], Site site);
void mma_m16n8k8(bool bf16, float d[4], const uint32_t a[2], const uint32_t b[1], const float c[4], Site site);
void mma_m16n8k32_s8(int d[4], const uint32_t a[4], const uint32_t b[2], const int c[4], Site site);
void mma_m16n8k16_s8(int d[4], const uint32_t a[2], const uint32_t b[1], const int c[4], Site site);
void ldmatrix(int num, bool trans, uint32_t* r, const void* row, Site site);

// ---- shared memory and asynchronous copies to it

void* shared_slot(const void* key, size_t size, size_t align);
void* dyn_shared(size_t align);
bool is_shared(const void* p, size_t n);
uint32_t shared_offset(const void* p);
void* shared_from_offset(uint32_t offset);
void cp_async(void* dst_shared, const void* src, int bytes, int src_bytes);
void cp_async_commit();
void cp_async_wait(int pending_groups);

/// One variable per place of declaration and per instance of a template.
template <class T, class Tag>
T& shared_var(Tag) {
  static const char key = 0;
  return *static_cast<T*>(shared_slot(&key, sizeof(T), alignof(T)));
}

}  // namespace steelyard::cuda_emulator
