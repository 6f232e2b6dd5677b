// Streams tensors through memory: slab by slab from the mapped source to the output, with the hashes of both sides.
//
// While a slab is encoded, the one before it is hashed and written, even when that belongs to the previous tensor. One
// parallel loop does all of it, over the rows of all experts alike. Memory is two slabs of encoded rows, one row of F32
// for each thread, and what the encoder holds of the slab's slices. Called by quantize().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "gguf/source.h"
#include "quantize/encode.h"
#include "quantize/output.h"

namespace steelyard::quantize {

class TensorStream {
 public:
  /// `slab_bytes` limits the memory, but at least one row is taken at a time.
  TensorStream(const gguf::Source& source, uint64_t slab_bytes, Output& output)
      : source_(source), slab_bytes_(slab_bytes), output_(output) {}

  /// Encodes the next tensor of the output. Its last slab is written with the next push, or by finish(). `progress` is
  /// called with the rows encoded so far.
  void push(const gguf::TensorInfo& tensor, RowEncoder& encoder, const std::function<void(int64_t rows)>& progress);

  /// Writes what is left. Must be called before anyone else writes to the output, and at the end.
  void finish();

 private:
  // Encoded rows that are not yet hashed and written.
  struct Slab {
    uint64_t begin = 0;  ///< byte within the tensor
    size_t n_bytes = 0;
    std::vector<std::byte> buffer;                ///< [at least n_bytes]
    bool copied = false;                          ///< the tensor's bytes are those of the source
    std::optional<std::string> source_hash = {};  ///< of the whole tensor, with its last slab

    std::span<const std::byte> bytes() const { return std::span(buffer).first(n_bytes); }
  };

  int64_t slab_rows(const gguf::TensorInfo& tensor, const RowEncoder& encoder) const;
  void hash_pending();
  void write_pending();
  /// To be called after both: marks the pending slab as done.
  void settle();

  const gguf::Source& source_;
  uint64_t slab_bytes_;
  Output& output_;
  Slab pending_, next_;
  Sha256 result_hash_;  ///< of the pending slab's tensor, up to that slab
};

}  // namespace steelyard::quantize
