// mma and ldmatrix. Fragment layouts are those of PTX ISA 9.0, section 9.7.14.5; with g = lane / 4 and q = lane % 4:
//
//   m16n8k16, m16n8k8 of 16-bit floats   A: row g (+8 for elements 2, 3, 6, 7), column 2q + (i & 1) (+8 for i >= 4)
//   (.5.8, .5.7)                         B: row 2q + (i & 1) (+8 for i >= 2), column g
//   m16n8k32 of int8 (.5.10)             A: row g (+8 for i in 4..7, 12..15), column 4q + (i & 3) (+16 for i >= 8)
//                                        B: row 4q + (i & 3) (+16 for i >= 4), column g
//   m16n8k16 of int8 (.5.9)              A: row g (+8 for i >= 4), column 4q + (i & 3);  B: row 4q + i, column g
//   all of them                          C, D: row g (+8 for i >= 2), column 2q + (i & 1)
#include <algorithm>
#include <bit>
#include <cmath>

#include "cuda_emulator/collective.h"
#include "cuda_emulator/half.h"

namespace steelyard::cuda_emulator {
namespace {

float element(uint32_t bits, int half, bool bf16) {
  const auto h = uint16_t(bits >> (16 * half));
  return bf16 ? bf16_to_float(h) : half_to_float(h);
}

// The exponent that a value is aligned by; `least`: of the smallest normal number of its type.
int exponent(double value, int least) {
  if (value == 0) return -126;
  int e;
  std::frexp(value, &e);
  return std::max(e - 1, least);
}

// The sum of products and an accumulator as tensor cores form it (MmaMode): every term is aligned to the largest and
// truncated to `fraction` bits, and so is the sum to float.
float truncated_dot(const float* a, const float* b, int n, float c, int fraction, int least) {
  double terms[33], check = c;
  int exponents[33], largest = -10000;
  for (int i = 0; i < n; ++i) {
    terms[i] = double(a[i]) * double(b[i]);
    check += terms[i];
    exponents[i] = exponent(a[i], least) + exponent(b[i], least);
  }
  terms[n] = c;
  exponents[n] = exponent(c, -126);
  if (!std::isfinite(check)) return std::isnan(check) ? std::bit_cast<float>(0x7FFFFFFFu) : float(check);
  for (int i = 0; i <= n; ++i) largest = std::max(largest, exponents[i]);
  double sum = 0;
  for (int i = 0; i <= n; ++i) sum += std::trunc(std::ldexp(terms[i], fraction - largest));
  sum = std::ldexp(sum, largest - fraction);
  if (std::fabs(sum) >= 0x1p128) return sum > 0 ? HUGE_VALF : -HUGE_VALF;
  const auto rounded = float(sum);
  return std::fabs(double(rounded)) > std::fabs(sum) ? std::nextafterf(rounded, 0.0f) : rounded;
}

float dot(const float* a, const float* b, int n, float c, int least) {
  if (config().mma == MmaMode::kSm90) return truncated_dot(a, b, n, c, 25, least);
  if (config().mma == MmaMode::kSm80) {
    const float first = truncated_dot(a, b, 8, c, 24, least);
    return n == 16 ? truncated_dot(a + 8, b + 8, 8, first, 24, least) : first;
  }
  for (int i = 0; i < n; ++i) c = std::fma(a[i], b[i], c);
  return c;
}

template <class T>
struct MmaArgs {
  T* d;
  const uint32_t *a, *b;
  const T* c;
};

template <class T>
MmaArgs<T>& args_of(Slot& slot, int lane) {
  return *static_cast<MmaArgs<T>*>(slot.args[lane]);
}

// D = result(row, column, C) for all lanes; no D is written before every C was read, for they may be the same.
template <class T, class F>
void for_results(Slot& slot, F result) {
  T d[32][4];
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      d[lane][i] = result(lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + (i & 1), args_of<T>(slot, lane).c[i]);
    }
  }
  for (int lane = 0; lane < 32; ++lane) std::copy_n(d[lane], 4, args_of<T>(slot, lane).d);
}

void multiply_floats(Slot& slot, bool bf16, int depth) {
  float a[16][16], b[8][16];
  for (int lane = 0; lane < 32; ++lane) {
    const MmaArgs<float>& args = args_of<float>(slot, lane);
    const int g = lane / 4, q = lane % 4;
    for (int i = 0; i < depth / 2; ++i) {
      a[g + ((i & 2) ? 8 : 0)][q * 2 + (i & 1) + (i >= 4 ? 8 : 0)] = element(args.a[i / 2], i & 1, bf16);
    }
    for (int i = 0; i < depth / 4; ++i) {
      b[g][q * 2 + (i & 1) + (i >= 2 ? 8 : 0)] = element(args.b[i / 2], i & 1, bf16);
    }
  }
  const int least = bf16 ? -126 : -14;
  for_results<float>(slot, [&](int row, int col, float c) { return dot(a[row], b[col], depth, c, least); });
}

void multiply_int8(Slot& slot, int depth) {
  int8_t a[16][32], b[8][32];
  for (int lane = 0; lane < 32; ++lane) {
    const MmaArgs<int>& args = args_of<int>(slot, lane);
    const int g = lane / 4, q = lane % 4;
    for (int i = 0; i < depth / 2; ++i) {
      a[g + ((i & 4) ? 8 : 0)][q * 4 + (i & 3) + (i >= 8 ? 16 : 0)] = int8_t(args.a[i / 4] >> (8 * (i & 3)));
    }
    for (int i = 0; i < depth / 4; ++i) {
      b[g][q * 4 + (i & 3) + (i >= 4 ? 16 : 0)] = int8_t(args.b[i / 4] >> (8 * (i & 3)));
    }
  }
  for_results<int>(slot, [&](int row, int col, int c) {
    auto sum = uint32_t(c);
    for (int k = 0; k < depth; ++k) sum += uint32_t(a[row][k] * b[col][k]);
    return int(sum);
  });
}

// What TSan would take for a memcpy of ours.
void copy_bytes(void* to, const void* from, size_t n) {
  auto* d = static_cast<volatile char*>(to);
  auto* s = static_cast<const char*>(from);
  for (size_t i = 0; i < n; ++i) d[i] = s[i];
}

struct LdmatrixArgs {
  uint32_t* r;
  const void* row;
};

const void* matrix_row(const Slot& slot, int lane) {
  const void* row = static_cast<LdmatrixArgs*>(slot.args[lane])->row;
  if (uintptr_t(row) % 16) {
    fail("ldmatrix at %s: lane %d row address is not 16-byte aligned", to_string(slot.site).c_str(), lane);
  }
  if (!is_shared(row, 16)) {
    fail("ldmatrix at %s: lane %d row address is outside this block's shared memory", to_string(slot.site).c_str(),
         lane);
  }
  return row;
}

}  // namespace

void mma_m16n8k16(bool bf16, float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4], Site site) {
  need_capability(80, "mma.m16n8k16");
  MmaArgs<float> args{d, a, b, c};
  collective(kOpMma16, kFullMask, &args, site, true, [bf16](Slot& slot) { multiply_floats(slot, bf16, 16); });
}

void mma_m16n8k8(bool bf16, float d[4], const uint32_t a[2], const uint32_t b[1], const float c[4], Site site) {
  need_capability(bf16 ? 80 : 75, "mma.m16n8k8");
  MmaArgs<float> args{d, a, b, c};
  collective(kOpMma8, kFullMask, &args, site, true, [bf16](Slot& slot) { multiply_floats(slot, bf16, 8); });
}

void mma_m16n8k32_s8(int d[4], const uint32_t a[4], const uint32_t b[2], const int c[4], Site site) {
  need_capability(80, "mma.m16n8k32.s8");
  MmaArgs<int> args{d, a, b, c};
  collective(kOpMmaS8, kFullMask, &args, site, true, [](Slot& slot) { multiply_int8(slot, 32); });
}

void mma_m16n8k16_s8(int d[4], const uint32_t a[2], const uint32_t b[1], const int c[4], Site site) {
  need_capability(80, "mma.m16n8k16.s8");
  MmaArgs<int> args{d, a, b, c};
  collective(kOpMma16S8, kFullMask, &args, site, true, [](Slot& slot) { multiply_int8(slot, 16); });
}

// Section 9.7.14.5.15: lane 8j + i supplies the address of row i of matrix j; lane l receives row l / 4, columns
// 2 (l % 4) and the next (with .trans: column l / 4, rows 2 (l % 4) and the next).
void ldmatrix(int num, bool trans, uint32_t* r, const void* row, Site site) {
  need_capability(75, "ldmatrix");
#ifdef CUDA_EMULATOR_TSAN
  if (int(current_thread->lane) < 8 * num) __tsan_read_range(const_cast<void*>(row), 16);
#endif
  LdmatrixArgs args{r, row};
  collective(kOpLdmatrix, kFullMask, &args, site, true, [num, trans](Slot& slot) {
    for (int j = 0; j < num; ++j) {
      uint16_t m[8][8];
      for (int i = 0; i < 8; ++i) copy_bytes(m[i], matrix_row(slot, 8 * j + i), 16);
      for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, q = 2 * (lane % 4);
        const uint32_t low = trans ? m[q][g] : m[g][q], high = trans ? m[q + 1][g] : m[g][q + 1];
        static_cast<LdmatrixArgs*>(slot.args[lane])->r[j] = low | high << 16;
      }
    }
    if (config().compute_capability > 75) return;
    for (int lane = 8 * num; lane < 32; ++lane) {  // sm_75 wants valid addresses in all lanes
      matrix_row(slot, lane);
    }
  });
}

}  // namespace steelyard::cuda_emulator
