#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace steelyard {

RowEncoder::RowEncoder(const gguf::TensorInfo& tensor, std::span<const std::byte> source, const Format& target,
                       const Imatrix* imatrix, Effort effort, std::string path)
    : tensor_(tensor),
      source_(source),
      from_(format(tensor.type)),
      to_(target),
      effort_(effort),
      path_(std::move(path)),
      source_row_(*row_bytes(from_, static_cast<uint64_t>(tensor.ne[0]))),
      target_row_(*row_bytes(to_, static_cast<uint64_t>(tensor.ne[0]))) {
  if (from_.type == to_.type) return;
  STEELYARD_CHECK(from_.decode != nullptr && to_.encoder != nullptr);
  importance_.resize(static_cast<size_t>(tensor.ne[2] * tensor.ne[3]));
  if (imatrix == nullptr) return;
  for (size_t slice = 0; slice < importance_.size(); ++slice) {
    importance_[slice] = imatrix->importance(tensor, static_cast<int64_t>(slice));
  }
}

void RowEncoder::encode(int64_t begin, int64_t n, std::byte* out) const {
  const std::byte* source = source_.data() + static_cast<size_t>(begin) * source_row_;
  if (from_.type == to_.type) {
    std::memcpy(out, source, static_cast<size_t>(n) * target_row_);
    return;
  }
  const int64_t n_cols = tensor_.ne[0];
  // A row stays in the cache between decoding and encoding, and is all that a thread holds as F32.
  static thread_local std::vector<float> row;
  row.resize(static_cast<size_t>(n_cols));
  for (int64_t r = begin; r < begin + n; ++r, source += source_row_, out += target_row_) {
    from_.decode(source, n_cols / from_.block_len, row.data());
    const auto bad = std::find_if_not(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
    if (bad != row.end()) {
      throw BadWeight(path_, fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor_.name), *bad, r,
                                         bad - row.begin()));
    }
    const std::vector<float>& weights = importance_[static_cast<size_t>(r / tensor_.ne[1])];
    to_.encoder->encode_row(row.data(), weights.empty() ? nullptr : weights.data(), n_cols / to_.block_len, effort_,
                            out);
  }
}

}  // namespace steelyard
