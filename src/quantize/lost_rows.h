// Notices weights that were there and are all zero in the result. Scales have least numbers too: below them a whole row
// becomes zero, and a model without a matrix runs on without a word. Called by RowEncoder, and by quantize() for bytes
// that were encoded elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gguf/tensor_info.h"
#include "plan/findings.h"

namespace steelyard::quantize {

class LostRows {
 public:
  /// All arguments must outlive it.
  LostRows(const gguf::TensorInfo& tensor, const formats::Format& to);

  /// Compares rows [begin, begin + n), `rows` in the tensor's own type, with what they were encoded as. Costs one block
  /// of most rows. Thread-safe.
  void look(int64_t begin, int64_t n, const std::byte* rows, const std::byte* encoded);

  /// After all rows: a warning for a tensor, or for experts of it, without any weight, a note for rows.
  void add_to(std::vector<plan::Finding>& found) const;

 private:
  // Of a slice; atomic while rows are looked at.
  struct Counts {
    int64_t rows = 0;  ///< with weights other than zero
    int64_t lost = 0;  ///< of these the ones that have none now
  };

  const gguf::TensorInfo& tensor_;
  const formats::Format &from_, &to_;
  std::vector<Counts> slices_;
};

}  // namespace steelyard::quantize
