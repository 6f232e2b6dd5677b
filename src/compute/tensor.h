// The operands of operations: activations (Matrix), weights (Weight) and the routing of tokens to experts (Routing).
//
// Pointers are in the memory of the backend that made them. Only that backend dereferences them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/check.h"
#include "formats/format.h"

namespace steelyard::compute {

/// A view of F32 activations: `rows` tokens of `cols` values; row r begins at data + r * stride.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* row(int64_t r) const { return data + r * stride; }

  /// The same view of the same memory.
  bool operator==(const Matrix&) const = default;

  /// Columns [begin, begin + n) of every row.
  Matrix columns(int64_t begin, int64_t n) const {
    STEELYARD_CHECK(begin >= 0 && begin + n <= cols);
    return {data + begin, rows, n, stride};
  }

  /// Rows [begin, begin + n).
  Matrix slice(int64_t begin, int64_t n) const {
    STEELYARD_CHECK(begin >= 0 && begin + n <= rows);
    return {data + begin * stride, n, cols, stride};
  }
};

/// A weight tensor [n_in, n_out, n_slices] in any GGUF type: n_slices matrices (experts or heads, else 1), each of
/// n_out rows of n_in values. Maps an input x [n_in] to y[o] = sum_i W[i, o] x[i].
struct Weight {
  std::string name;  ///< as in the file, e.g. "blk.0.attn_q.weight"
  const formats::Format* format = nullptr;
  int64_t n_in = 0;
  int64_t n_out = 0;
  int64_t n_slices = 1;
  const std::byte* data = nullptr;
  std::shared_ptr<const std::byte> memory = nullptr;  ///< keeps data where it is not the file's

  bool empty() const { return data == nullptr; }
  int64_t row_bytes() const { return n_in / format->block_len * format->block_bytes; }
  const std::byte* row(int64_t slice, int64_t out) const { return data + (slice * n_out + out) * row_bytes(); }
};

/// A view of `rows` rows of `cols` values in any type that can be written: keys and values of past positions. Row r
/// begins at data + r * stride bytes.
struct TypedRows {
  const formats::Format* format = nullptr;
  std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  std::byte* row(int64_t r) const { return data + r * stride; }

  /// The first block of row r at column `begin`, which must be the start of a block.
  std::byte* at(int64_t r, int64_t begin) const {
    STEELYARD_CHECK(begin % format->block_len == 0);
    return row(r) + begin / format->block_len * format->block_bytes;
  }

  /// The first n columns of every row; whole blocks.
  TypedRows first_columns(int64_t n) const {
    STEELYARD_CHECK(n <= cols && n % format->block_len == 0);
    return {format, data, rows, n, stride};
  }

  /// Rows [begin, begin + n).
  TypedRows slice(int64_t begin, int64_t n) const {
    STEELYARD_CHECK(begin >= 0 && begin + n <= rows);
    return {format, data + begin * stride, n, cols, stride};
  }
};

/// The experts of each token: `n_used` per token, in descending order of selection. A slot is (token, rank), with
/// number token * n_used + rank. Rows of expert inputs are slots sorted by expert, so that each expert has one run of
/// rows.
struct Routing {
  int64_t n_tokens = 0;
  int64_t n_used = 0;
  int64_t n_expert = 0;
  int32_t* expert = nullptr;     ///< [n_tokens * n_used] expert of a slot
  float* weight = nullptr;       ///< [n_tokens * n_used] mixing weight of a slot
  int32_t* row = nullptr;        ///< [n_tokens * n_used] row of a slot in expert order
  int32_t* token = nullptr;      ///< [n_tokens * n_used] token of a row
  int32_t* row_begin = nullptr;  ///< [n_expert + 1] first row of each expert

  int64_t n_slots() const { return n_tokens * n_used; }
};

}  // namespace steelyard::compute
