#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace steelyard {

RowEncoder::RowEncoder(const gguf::TensorInfo& tensor, std::span<const std::byte> source, const Format& target,
                       const Imatrix* imatrix, Effort effort, std::string path, DeviceEncoder* device)
    : tensor_(tensor),
      source_(source),
      from_(format(tensor.type)),
      to_(target),
      effort_(effort),
      path_(std::move(path)),
      device_(device != nullptr && from_.type != to_.type && device->encodes(to_.type) ? device : nullptr),
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

void RowEncoder::decode(int64_t row, float* x) const {
  const int64_t n_cols = tensor_.ne[0];
  from_.decode(source_.data() + static_cast<size_t>(row) * source_row_, n_cols / from_.block_len, x);
  const float* bad = std::find_if_not(x, x + n_cols, [](float value) { return std::isfinite(value); });
  if (bad != x + n_cols) {
    throw BadWeight(
        path_, fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor_.name), *bad, row, bad - x));
  }
}

const float* RowEncoder::importance(int64_t row) const {
  const std::vector<float>& weights = importance_[static_cast<size_t>(row / tensor_.ne[1])];
  return weights.empty() ? nullptr : weights.data();
}

void RowEncoder::encode(int64_t begin, int64_t n, std::byte* out) const {
  if (from_.type == to_.type) {
    std::memcpy(out, source_.data() + static_cast<size_t>(begin) * source_row_, static_cast<size_t>(n) * target_row_);
    return;
  }
  if (device_ != nullptr) return encode_on_device(begin, n, out);
  // A row stays in the cache between decoding and encoding, and is all that a thread holds as F32.
  static thread_local std::vector<float> row;
  row.resize(static_cast<size_t>(tensor_.ne[0]));
  for (int64_t r = begin; r < begin + n; ++r, out += target_row_) {
    decode(r, row.data());
    to_.encoder->encode_row(row.data(), importance(r), tensor_.ne[0] / to_.block_len, effort_, out);
  }
}

// A slice at a time, since its rows share their importance.
void RowEncoder::encode_on_device(int64_t begin, int64_t n, std::byte* out) const {
  const int64_t n_cols = tensor_.ne[0], end = begin + n;
  std::vector<float> rows;
  for (int64_t first = begin; first < end;) {
    const int64_t count = std::min(end, (first / tensor_.ne[1] + 1) * tensor_.ne[1]) - first;
    rows.resize(static_cast<size_t>(count * n_cols));
    for (int64_t r = 0; r < count; ++r) decode(first + r, rows.data() + r * n_cols);
    device_->encode(to_.type, rows.data(), count, n_cols, importance(first), effort_, out);
    first += count;
    out += static_cast<size_t>(count) * target_row_;
  }
}

}  // namespace steelyard
