// Products with many rows of x on tensor cores. A group of 16 weights is exactly as deep as one m16n8k16. The
// instruction multiplies 16 rows' codes with 8 rows of x. The result is scaled, less the minimum times the group's sum
// of x, and accumulated in F32. Codes are either int8 against int8 activations, or bfloat16, which holds them exactly,
// against activations split into bfloat16 parts.
#pragma once

#include <cstring>

#include "compute/cuda/tiles.cuh"

namespace steelyard::compute::cuda {

inline constexpr int kTensorThreads = 128;  // 4 warps of 16 weight rows each

/// How codes lie in shared memory and are multiplied: int8.
struct Int8Codes {
  using Code = int8_t;
  static constexpr int kParts = 1;
  static constexpr int kRowLength = kTileDepth + 16;  // rows on different banks

  using Fragment = uint32_t[2];  // of weights
  __device__ static const int8_t* plane(const ProductArgs& args, int) { return args.input.codes; }
  __device__ static void from_group(const formats::Group& group, Code* to) { memcpy(to, group.q, sizeof(group.q)); }

  __device__ static void load(Fragment& a, Code (*rows)[kRowLength], int g, int q, int at) {
    CUDA_UNROLL
    for (int i = 0; i < 2; ++i) a[i] = *reinterpret_cast<const uint32_t*>(&rows[g + 8 * i][at + 4 * q]);
  }
  /// Adds to d; of the rows of x the one that this lane reads.
  __device__ static void multiply(int (&d)[4], const Fragment& a, const Code* x, int q) {
    const uint32_t b[1] = {*reinterpret_cast<const uint32_t*>(x + 4 * q)};
    mma_m16n8k16_s8(d, a, b, d);
  }
  using Sum = int;
};

/// The same in bfloat16.
struct Bf16Codes {
  using Code = uint16_t;
  static constexpr int kParts = 3;
  static constexpr int kRowLength = kTileDepth + 8;

  using Fragment = uint32_t[4];
  __device__ static const uint16_t* plane(const ProductArgs& args, int part) {
    return args.input.parts + part * args.input.rows * args.input.width;
  }
  __device__ static void from_group(const formats::Group& group, Code* to) {
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) to[i] = static_cast<uint16_t>(__float_as_uint(group.q[i]) >> 16);
  }

  __device__ static void load(Fragment& a, Code (*rows)[kRowLength], int g, int q, int at) {
    CUDA_UNROLL
    for (int i = 0; i < 4; ++i) {
      a[i] = *reinterpret_cast<const uint32_t*>(&rows[g + 8 * (i % 2)][at + 2 * q + 8 * (i / 2)]);
    }
  }
  __device__ static void multiply(float (&d)[4], const Fragment& a, const Code* x, int q) {
    const uint32_t b[2] = {*reinterpret_cast<const uint32_t*>(x + 2 * q),
                           *reinterpret_cast<const uint32_t*>(x + 2 * q + 8)};
    mma_m16n8k16_bf16(d, a, b, d);
  }
  using Sum = float;
};

/// Codes, scale and minimum of group `index` of a row; zeros beyond n_in. BF16 are codes of scale 1.
template <class F, class Codes>
__device__ __forceinline__ void load_codes(const std::byte* row, int64_t index, int64_t n_in,
                                           typename Codes::Code* codes, float& scale, float& min) {
  if constexpr (formats::Grouped<F>) {
    formats::Group group{};
    if (index * formats::kGroupLen < n_in) load_group<F>(row, index, group);
    Codes::from_group(group, codes);
    scale = group.scale;
    min = group.min;
  } else {
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) {
      const int64_t at = index * formats::kGroupLen + i;
      codes[i] = at < n_in ? block_at<F>(row, at).bfloat.bits : uint16_t{0};
    }
    scale = 1.0f;
    min = 0.0f;
  }
}

template <class F, class Codes>
__global__ void __launch_bounds__(kTensorThreads) multiply_tensor_tiles(ProductArgs args) {
  constexpr int kGroups = kTileDepth / formats::kGroupLen, kTokensOfMma = 8, kMmas = kTileTokens / kTokensOfMma;
  using Code = typename Codes::Code;
  CUDA_SHARED(w, Code[kTileRows][Codes::kRowLength]);
  CUDA_SHARED(xs, Code[Codes::kParts][kTileTokens][Codes::kRowLength]);
  CUDA_SHARED(w_scale, float[kTileRows][kGroups + 1]);
  CUDA_SHARED(w_min, float[kTileRows][kGroups + 1]);
  CUDA_SHARED(x_scale, float[kTileTokens][kGroups]);
  CUDA_SHARED(x_sum, float[kTileTokens][kGroups]);
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.y), kTileTokens);
  if (tile.n <= 0) return;
  const PreparedInput& input = args.input;
  const int n_parts = sizeof(Code) == 1 ? 1 : static_cast<int>(input.n_parts);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTileRows, n_groups = input.width / formats::kGroupLen;
  const std::byte* weights = args.weights + tile.slice * args.slice_bytes;
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarp, g = lane / 4, q = lane % 4;
  const int warp_row = t / kWarp * 16;
  float sums[kMmas][4] = {};

  for (int64_t depth = 0; depth < args.n_in; depth += kTileDepth) {
    const int64_t first_group = depth / formats::kGroupLen;
    for (int i = t; i < kTileRows * kGroups; i += kTensorThreads) {
      const int row = i / kGroups, group = i % kGroups;
      const bool inside = first_row + row < args.n_out;
      load_codes<F, Codes>(weights + (inside ? first_row + row : 0) * args.row_bytes, first_group + group,
                           inside ? args.n_in : 0, &w[row][group * formats::kGroupLen], w_scale[row][group],
                           w_min[row][group]);
    }
    for (int i = t; i < kTileTokens * kGroups; i += kTensorThreads) {
      const int token = i / kGroups, group = i % kGroups;
      const bool inside = token < tile.n;
      const int64_t at = (tile.input_row + (inside ? token : 0)) * n_groups + first_group + group;
      for (int part = 0; part < n_parts; ++part) {
        const Code* from = Codes::plane(args, part) + at * formats::kGroupLen;
        Code* to = &xs[part][token][group * formats::kGroupLen];
        CUDA_UNROLL
        for (int v = 0; v < static_cast<int>(sizeof(Code)); ++v) {  // 16 bytes each
          reinterpret_cast<uint4*>(to)[v] = inside ? reinterpret_cast<const uint4*>(from)[v] : make_uint4(0, 0, 0, 0);
        }
      }
      x_sum[token][group] = inside ? input.sums[at] : 0.0f;
      if constexpr (sizeof(Code) == 1) x_scale[token][group] = inside ? input.scales[at] : 0.0f;
    }
    __syncthreads();
    CUDA_UNROLL
    for (int group = 0; group < kGroups; ++group) {
      typename Codes::Fragment a;
      Codes::load(a, &w[warp_row], g, q, group * formats::kGroupLen);
      const float scale[2] = {w_scale[warp_row + g][group], w_scale[warp_row + g + 8][group]};
      const float min[2] = {w_min[warp_row + g][group], w_min[warp_row + g + 8][group]};
      CUDA_UNROLL
      for (int m = 0; m < kMmas; ++m) {
        if (m * kTokensOfMma >= tile.n) break;
        typename Codes::Sum d[4] = {};
        for (int part = n_parts - 1; part >= 0; --part) {  // the smallest first
          Codes::multiply(d, a, &xs[part][m * kTokensOfMma + g][group * formats::kGroupLen], q);
        }
        CUDA_UNROLL
        for (int i = 0; i < 4; ++i) {  // row g (+8), token 2q (+1)
          const int token = m * kTokensOfMma + 2 * q + i % 2;
          const float factor = sizeof(Code) == 1 ? scale[i / 2] * x_scale[token][group] : scale[i / 2];
          sums[m][i] = fmaf(factor, static_cast<float>(d[i]), sums[m][i]);
          sums[m][i] = fmaf(-min[i / 2], x_sum[token][group], sums[m][i]);
        }
      }
    }
    __syncthreads();
  }

  const int64_t batch = args.row_begin == nullptr ? tile.slice : 0;
  float* out = args.out + tile.first * args.out_stride + batch * args.out_step;
  CUDA_UNROLL
  for (int m = 0; m < kMmas; ++m) {
    CUDA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int64_t o = first_row + warp_row + g + 8 * (i / 2), token = m * kTokensOfMma + 2 * q + i % 2;
      if (o < args.n_out && token < tile.n) out[token * args.out_stride + o] = sums[m][i];
    }
  }
}

}  // namespace steelyard::compute::cuda
