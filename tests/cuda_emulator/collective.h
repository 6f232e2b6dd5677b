// Operations of a warp: every lane named in the mask parks with its arguments, and the last one to arrive computes for
// all of them.
#pragma once

#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator {

enum Op {
  kOpShfl = 0,    // four kinds
  kOpShfl64 = 4,  // four kinds
  kOpSyncwarp = 8,
  kOpVote = 9,  // four kinds
  kOpReduce = 13,
  kOpMma16,
  kOpMma8,
  kOpMmaS8,
  kOpMma16S8,
  kOpLdmatrix,
};

inline constexpr uint32_t kFullMask = 0xFFFFFFFF;

/// Calls f(lane) for every lane of a mask, in order.
template <class F>
void for_lanes(uint32_t mask, F&& f) {
  for (; mask; mask &= mask - 1) f(__builtin_ctz(mask));
}

/// The lanes of `mask` meet; returns true to the last one, which then computes and calls depart(). Others wait within.
Slot* arrive(int op, uint32_t mask, void* args, Site site, bool aligned);
void depart(Slot& slot);

/// compute(slot) runs once, with the argument block of every lane at hand.
template <class F>
void collective(int op, uint32_t mask, void* args, Site site, bool aligned, F compute) {
  Quiet quiet;
  if (Slot* slot = arrive(op, mask, args, site, aligned)) {
    compute(*slot);
    depart(*slot);
  }
}

}  // namespace steelyard::cuda_emulator
