// The types of cached keys and values. A kernel takes any of them: the type is known only at the launch, and is found
// by comparison.
#pragma once

#include "compute/cuda/tiles.cuh"
#include "compute/tensor.h"
#include "formats/q4_0.h"
#include "formats/q8_0.h"

namespace steelyard::compute::cuda {

template <class... F>
struct TypeList {};
using CacheTypes = TypeList<formats::F32, formats::F16, formats::BF16, formats::Q8_0, formats::Q4_0>;

template <class... F>
bool contains(TypeList<F...>, formats::Type type) {
  return ((type == F::kType) || ...);
}

/// Calls f.template operator()<F>() with the F that `type` is; false when it is none of them.
template <class Function, class... F>
__host__ __device__ __forceinline__ bool for_type(TypeList<F...>, formats::Type type, const Function& f) {
  return ((type == F::kType ? (f.template operator()<F>(), true) : false) || ...);
}

/// Cached rows without their Format, which is host memory.
struct CachedRows {
  std::byte* data;
  int64_t stride;
  int64_t head_bytes;  ///< from one head to the next
  int64_t type;        ///< a Type, as wide as its neighbours so that there is no padding

  __device__ const std::byte* head(int64_t row, int64_t h) const { return data + row * stride + h * head_bytes; }
};

inline CachedRows cached_rows(const TypedRows& rows, int64_t head_width) {
  const formats::Format& format = *rows.format;
  return {rows.data, rows.stride, head_width / format.block_len * format.block_bytes,
          static_cast<int64_t>(format.type)};
}

}  // namespace steelyard::compute::cuda
