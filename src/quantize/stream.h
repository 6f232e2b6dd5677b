// One tensor on its way through memory: slab by slab from the mapped source to the output, with the hashes of what goes
// in and what comes out.
//
// While a slab is encoded, the one before it is hashed and written: one parallel loop does all of it, over the rows of
// all experts alike. Memory is two slabs of encoded rows, one row of F32 for each thread, and what the encoder holds of
// the slab's slices. Called by quantize().
#pragma once

#include <cstdint>
#include <functional>

#include "gguf/reader.h"
#include "quantize/encode.h"
#include "quantize/output.h"

namespace steelyard {

/// Writes the next tensor of `output`. `slab_bytes` bounds the memory, but at least one row is taken at a time.
/// `progress` is called with the rows encoded so far. Returns the hashes of the tensor's bytes.
TensorHashes stream_tensor(const gguf::Reader& source, const gguf::TensorInfo& tensor, RowEncoder& encoder,
                           uint64_t slab_bytes, Output& output, const std::function<void(int64_t rows)>& progress);

}  // namespace steelyard
