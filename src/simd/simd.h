// The vocabulary of vectors: what formats and the loops of the CPU backend say, each target in its own instructions.
//
// There are two kinds of vectors.
//
// Floats, Ints, Words: kLanes floats, int32, uint32, as wide as a register. Arithmetic, comparison and ?: are the
// compiler's and work lane by lane; a comparison gives Ints, all ones where it holds. Searches of encoders put a
// candidate into each lane and sum its values in order; they take candidates in multiples of kMaxLanes, and so every
// target gives the same bytes.
//
//   load(p), store(v, p)         kLanes floats or Words at any address; load(const int8_t*) makes floats of bytes,
//                                load_halves(p), load_bfloats(p) of 16 bits each
//   broadcast(x)                 x in every lane
//   fma(a, b, c)                 a * b + c, in one rounding where the target has it
//   max(a, b), min(a, b), clamp(v, low, high), square_root(v), nearest_integer(v), to_codes(v), to_floats(Ints)
//   absolute_maximum(v, most)    max(|v|, most), most >= 0; NaN counts as the largest
//   largest_magnitude(v)         of lanes that are not negative
//   lane_bits(mask)              bit l: whether the comparison holds in lane l
//   first_lane(bits)             the lowest bit set
//   least_index(mask, first)     the least first[l] + l of lanes l where the comparison holds; one does at least
//   fold_lanes(v, f)             f over all lanes, by halves; least(v), largest(v), sum(v) are such
//   look_up<n>(table, indices)   table[index & (n - 1)] of n <= 16 floats
//   transpose_fours(rows, out, stride)   four rows of kLanes words become kLanes rows of four
//   load_pairs(p), broadcast_pair(p)     two int16 in each lane of Ints; store_pairs(a, b, p) the low halves of both
//   dot_pairs(sums, a, b)        sums + a.low * b.low + a.high * b.high
//
// Bytes, Floats16, Ints16: 64 bytes, 16 floats, 16 int32, in as many registers as that takes. Four Bytes hold the codes
// of 256 values in order, and a Floats16 one number for each of their groups of 16.
//
//   load_bytes(p), store(v, p)   64 bytes at any address
//   join_halves(a, b)            32 bytes from each; join_quarters(a, b, c, d): 16 bytes from each
//   twice_apart<d>(p)            16 bytes twice, and those d bytes further on twice
//   eights_twice(p)              eight bytes twice, the next eight twice, ... of 32
//   fours(p)                     each of 16 bytes four times
//   repeat(byte)                 one byte everywhere; repeat_word(p): four bytes
//   + - & |                      byte by byte
//   shift_right(v, counts)       every eight bytes as one integer, by a count of their own; shift_left as well
//   multiply(v, w)               the low bytes of the products
//   at_least(v, bound)           without sign: all ones where v >= bound
//   any_bits(word, tests)        for every eight bytes a test of its own: all ones where word & test is not 0
//   spread(bits)                 64 bits as bytes: all ones where one is set
//   negate_where(v, bits)        v, or -v where a bit is set
//   look_up(table, v)            table[v] of 16 bytes, v in 0 .. 15
//   codewords(grid, index)       grid[index(i)], i = 0 .. 7 for words of eight bytes, 0 .. 15 for words of four
//   biased<factor>(q)            codes as the next ones take them (factor.h): with kBias<factor> added
//   dot<factor>(sums, q, x)      Ints16: sums[i] + the products of bytes 4 i .. 4 i + 3
//   dot_fours<factor>(sums, q, x)        the same of four q and four x
//   times_bias<factor>(sums)     Ints16: kBias<factor> times each
//   next_digit(a, b)             Ints16: a * 255 + b
//   to_floats<k>(v)              the signed bytes 16 k .. 16 k + 15 as Floats16
//   spread_groups<k>(groups)     Floats16: lane i has group 4 k + i / 4; what goes with dot of the k-th Bytes
//   store_low_bytes(v, p)        16 int32 as int8, which they must be
//   broadcast_half(half)         Floats16 of one number of 16 bits
//   halves_apart<n, d>(p)        Floats16: n halves, d bytes apart, each 16 / n times
//
// SubScales: 16 bytes, for the scales of groups before they are floats.
//
//   make_sub_scales(low, high)   of two integers of eight bytes; repeat_sub_scale(byte)
//   + | &, shift_right(v, n)     byte by byte; eight bytes as one integer
//   twice(eight)                 each of eight bytes twice
//   nibble_sub_scales(eight)     the 16 nibbles of eight bytes, the lowest first
//   to_floats(sub_scales)        the bytes with their signs as Floats16
//
// On devices a lane can be a thread (half_warp.h). Encoders are written for that, too: what all lanes see is in Common
// memory or the caller's, and is written by the words for it.
//
//   Common<T>(arguments...)      *, ->: an object in memory that all lanes see; a local variable elsewhere
//   LaneArray<n>                 n floats, a multiple of kMaxLanes: one candidate of a search in each lane
//     get(i), put(i, v)            numbers i .. i + kLanes - 1; i is a multiple of kLanes
//     fill(f)                      number i becomes f(i)
//     [i], set(i, x)               one of them
//     own(i)                       number i within fill or each, called with this i
//   once(f)                      f(), which has no verb in it, by one lane
//   assign(place, x)             place = x, in memory
//   each(n, f)                   f(0) .. f(n - 1), in any order and without verbs; no one writes what another reads
//   number_of_digits<n>(base, f) the number below 2^24 whose n digits are f(0), the highest, .. f(n - 1); n is 4 or 8
//
// one_lane.h is all this written as plain loops: what devices compile for products, what other targets are tested
// against, and what to read when a word above is not clear.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "simd/factor.h"
#include "simd/host_device.h"
#include "simd/read.h"
#include "simd/this_target.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

/// The lanes of the widest target.
inline constexpr int kMaxLanes = 16;

}  // namespace steelyard::simd::inline STEELYARD_TARGET

// Leaf headers build on what stands above; nobody else includes them.
#if defined(STEELYARD_HALF_WARP)
#include "simd/half_warp.h"
#elif defined(__CUDACC__) || defined(STEELYARD_ONE_LANE)
#include "simd/one_lane.h"
#elif defined(__AVX512BW__)
#include "simd/avx512.h"
#elif defined(__AVX2__)
#include "simd/avx2.h"
#elif defined(__SSE2__)
#include "simd/sse2.h"
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include "simd/neon.h"
#else
#include "simd/one_lane.h"
#endif
#if !defined(STEELYARD_HALF_WARP)
#include "simd/one_thread.h"
#endif

namespace steelyard::simd::inline STEELYARD_TARGET {

STEELYARD_HD inline Floats max(const Floats& a, const Floats& b) { return a > b ? a : b; }
STEELYARD_HD inline Floats min(const Floats& a, const Floats& b) { return a < b ? a : b; }

STEELYARD_HD inline float least(const Floats& v) {
  return fold_lanes(v, [](const Floats& a, const Floats& b) { return min(a, b); });
}
STEELYARD_HD inline float largest(const Floats& v) {
  return fold_lanes(v, [](const Floats& a, const Floats& b) { return max(a, b); });
}
STEELYARD_HD inline float sum(const Floats& v) {
  return fold_lanes(v, [](const Floats& a, const Floats& b) { return a + b; });
}

/// The eight nibbles of a word as bytes, the lowest first.
STEELYARD_HD constexpr uint64_t nibbles_as_bytes(uint32_t word) {
  uint64_t x = word;
  x = (x | x << 16) & 0x0000FFFF0000FFFFu;
  x = (x | x << 8) & 0x00FF00FF00FF00FFu;
  return (x | x << 4) & 0x0F0F0F0F0F0F0F0Fu;
}

/// body.operator()<0>(), <1>(), ... <n - 1>(): a loop whose index the compiler knows.
template <int n, int first = 0, class Body>
[[gnu::always_inline]] STEELYARD_HD inline void unrolled(const Body& body) {
  if constexpr (first < n) {
    body.template operator()<first>();
    unrolled<n, first + 1>(body);
  }
}

/// Bytes 0, 2, 4, 6 side by side; the others are zero.
STEELYARD_HD constexpr uint64_t even_bytes(uint64_t x) {
  x = (x | x >> 8) & 0x0000FFFF0000FFFFu;
  return (x | x >> 16) & 0x00000000FFFFFFFFu;
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
