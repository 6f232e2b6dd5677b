// The codings in which weights are published, one class each. What they are told was checked by find_weights().
#pragma once

#include "huggingface/stored_weight.h"

namespace steelyard::huggingface {

/// The value at `from`.
float load_value(Dtype dtype, const std::byte* from);

/// A tensor and its bytes; null without data.
struct Stored {
  const StoredTensor* tensor;
  const std::byte* data;

  float value(int64_t i) const {
    return load_value(tensor->dtype, data + static_cast<uint64_t>(i) * value_bytes(tensor->dtype));
  }
};

/// Values as they are.
std::unique_ptr<StoredWeight> make_plain(const Stored& values);

/// FP8 [.., n_out, n_in]: E4M3 values times a scale for each block of rows and columns [.., ceil(n_out / block_rows),
/// ceil(n_in / block_columns)].
std::unique_ptr<StoredWeight> make_fp8(const Stored& codes, const Stored& scales, int64_t block_rows,
                                       int64_t block_columns);

/// Integers of 4 bits [n_out, n_in], less 8, eight to an I32 from its low bits on; a scale for each `group` of a row.
std::unique_ptr<StoredWeight> make_int4(const std::string& name, const Stored& codes, const Stored& scales,
                                        int64_t n_in, int64_t group);

/// OCP's MXFP4 [.., n_in]: two codes to a byte, the even one in its low bits; an exponent for each 32.
std::unique_ptr<StoredWeight> make_mxfp4(const std::string& name, const Stored& codes, const Stored& exponents,
                                         std::vector<int64_t> shape);

/// NVFP4 [.., n_in]: codes as MXFP4; an E4M3 scale for each 16, and a factor of all.
std::unique_ptr<StoredWeight> make_nvfp4(const std::string& name, const Stored& codes, const Stored& scales,
                                         std::vector<int64_t> shape, float factor);

}  // namespace steelyard::huggingface
