// Name, shape, type and place of one tensor in a GGUF file.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "formats/format.h"

namespace steelyard::gguf {

inline constexpr int kMaxDims = 4;

struct TensorInfo {
  std::string name;
  int n_dims = 0;  ///< 0: one value
  /// ne[0] is the row length; dimensions beyond n_dims are 1. One of 0 makes the tensor empty: it has no bytes.
  std::array<int64_t, kMaxDims> ne = {1, 1, 1, 1};
  formats::Type type = formats::Type::F32;
  uint64_t offset = 0;   ///< from the start of the data section of its shard
  uint64_t n_bytes = 0;  ///< exact, without padding
  int shard = 0;

  int64_t n_elements() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
  int64_t n_rows() const { return ne[1] * ne[2] * ne[3]; }
};

/// "[2048, 1536, 64]".
std::string shape_string(const TensorInfo& tensor);

/// Bytes of a tensor of this shape in `type`, or nothing when its rows do not divide into blocks or the size overflows.
std::optional<uint64_t> tensor_bytes(const formats::Format& format, const std::array<int64_t, kMaxDims>& ne);

}  // namespace steelyard::gguf
