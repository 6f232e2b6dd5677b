// The layout of a GGUF v3 file that is to be written (docs/gguf.md): known, to the byte, before the first tensor byte
// is. Padded as llama.cpp pads: after the header and after every tensor, the last one included.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/metadata.h"
#include "gguf/tensor_info.h"

namespace steelyard::gguf {

struct Layout {
  std::string header;               ///< with its padding; the data begins where it ends
  std::vector<TensorInfo> tensors;  ///< in the order given, offset and n_bytes as laid out, shard 0
  uint64_t file_bytes = 0;          ///< exact size of the finished file

  /// Place of the tensor's first byte in the file.
  uint64_t begin(const TensorInfo& tensor) const { return header.size() + tensor.offset; }
};

/// Lays the tensors out one after the other in the given order. The alignment is metadata's general.alignment, or 32.
/// Names must be unique, and rows must divide into blocks. Error naming `path` if the alignment is not a power of two.
Layout lay_out(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors);

}  // namespace steelyard::gguf
