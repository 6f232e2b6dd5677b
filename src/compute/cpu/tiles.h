// What the panels of floats, 16-bit codes and bytes share: packing rows into panels, and cutting tokens into register
// tiles. Included only by *.simd.cc.
#pragma once

#include <cstdint>

#include "simd/simd.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {

/// rows: [n, k] of 32-bit values, whatever they mean, with leading dimension ld. out: [k, kPanel], zeros beside the
/// rows there are.
template <int kPanel>
void pack_words(const int32_t* rows, int64_t ld, int64_t n, int64_t k, int32_t* out) {
  for (int64_t r = 0; r < kPanel; r += 4) {
    if (r + 4 > n) {
      for (int64_t j = 0; j < 4; ++j) {
        for (int64_t i = 0; i < k; ++i) out[i * kPanel + r + j] = r + j < n ? rows[(r + j) * ld + i] : 0;
      }
      continue;
    }
    const int32_t* four[4] = {rows + r * ld, rows + (r + 1) * ld, rows + (r + 2) * ld, rows + (r + 3) * ld};
    int64_t i = 0;
    for (; i + kLanes <= k; i += kLanes) {
      const int32_t* at[4] = {four[0] + i, four[1] + i, four[2] + i, four[3] + i};
      transpose_fours(at, out + i * kPanel + r, kPanel);
    }
    for (; i < k; ++i) {
      for (int64_t j = 0; j < 4; ++j) out[i * kPanel + r + j] = four[j][i];
    }
  }
}

/// Calls body<rows>(first) for tiles of kRows of m tokens and the rest.
template <int kRows, typename Body>
inline void last_tokens(int64_t first, int64_t n, const Body& body) {
  if constexpr (kRows > 0) {
    if (n == kRows)
      body.template operator()<kRows>(first);
    else
      last_tokens<kRows - 1>(first, n, body);
  }
}
template <int kRows, typename Body>
inline void for_tokens(int64_t m, const Body& body) {
  int64_t t = 0;
  for (; t + kRows <= m; t += kRows) body.template operator()<kRows>(t);
  last_tokens<kRows - 1>(t, m - t, body);
}

/// A tile that is narrower than the panel goes through memory of full width.
template <int kRows, int kPanel, typename Body>
inline void narrow(int64_t n, float* c, int64_t ldc, bool add, const Body& body) {
  float full[kRows * kPanel];
  for (int r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < kPanel; ++o) full[r * kPanel + o] = add && o < n ? c[r * ldc + o] : 0.0f;
  }
  body(full);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < n; ++o) c[r * ldc + o] = full[r * kPanel + o];
  }
}

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET
