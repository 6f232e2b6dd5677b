#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"
#include "quantize/ldlq_kernel.h"

namespace steelyard::quantize {

RowEncoder::RowEncoder(const gguf::TensorInfo& tensor, const formats::Format& target, const imatrix::Imatrix* imatrix,
                       formats::Effort effort, std::string path, const HessianEstimate* input,
                       formats::DeviceEncoder* device)
    : tensor_(tensor),
      from_(format(tensor.type)),
      to_(target),
      effort_(effort),
      path_(std::move(path)),
      input_(imatrix != nullptr && !copies() && to_.unpack != nullptr ? input : nullptr),
      device_(device != nullptr && !copies() && device->encodes(to_.type) ? device : nullptr),
      source_row_(*row_bytes(from_, static_cast<uint64_t>(tensor.ne[0]))),
      target_row_(*row_bytes(to_, static_cast<uint64_t>(tensor.ne[0]))),
      lost_(tensor, target) {
  if (copies()) return;
  STEELYARD_CHECK(from_.decode != nullptr && to_.encoder != nullptr);
  importance_.resize(static_cast<size_t>(tensor.ne[2] * tensor.ne[3]));
  ldlq_.resize(importance_.size());
  if (imatrix == nullptr) return;
  importance_ = imatrix->importance(tensor);
}

void RowEncoder::decode(int64_t row, const std::byte* from, float* x) const {
  const int64_t n_cols = tensor_.ne[0];
  from_.decode(from, n_cols / from_.block_len, x);
  const float* bad = std::find_if_not(x, x + n_cols, [](float value) { return std::isfinite(value); });
  if (bad != x + n_cols) {
    throw BadWeight(
        path_, fmt::format("tensor {} holds {} in row {}, column {}", printable(tensor_.name), *bad, row, bad - x));
  }
}

int64_t RowEncoder::min_rows() const { return input_ != nullptr ? kLdlqTileRows : 1; }

// H and its factor, both twice while they are arranged in panels, and both in F64.
uint64_t RowEncoder::slice_bytes() const {
  const auto n = static_cast<uint64_t>(tensor_.ne[0]);
  return input_ != nullptr ? n * n * (4 * sizeof(float) + 2 * sizeof(double)) : 0;
}

void RowEncoder::prepare(int64_t begin, int64_t n) {
  if (input_ == nullptr) return;
  const int64_t first = begin / tensor_.ne[1], last = (begin + n - 1) / tensor_.ne[1];
  for (; n_done_ < first; ++n_done_) ldlq_[static_cast<size_t>(n_done_)].reset();
  parallel_for(last - first + 1, 1, [&](int64_t i) {
    const int64_t slice = first + i;
    const std::vector<float>& importance = importance_[static_cast<size_t>(slice)];
    std::optional<LdlqEncoder>& ldlq = ldlq_[static_cast<size_t>(slice)];
    if (ldlq || importance.empty()) return;
    ldlq = LdlqEncoder::make(to_, tensor_.ne[0], input_->hessian(slice, importance).data(),
                             {.damping = input_->damping(), .effort = effort_, .weight_floor = formats::kWeightFloor},
                             device_);
  });
}

void RowEncoder::encode(int64_t begin, int64_t n, const std::byte* rows, std::byte* out) const {
  if (copies()) {
    std::memcpy(out, rows, static_cast<size_t>(n) * target_row_);
    return;
  }
  for (const int64_t end = begin + n; begin < end;) {
    const int64_t slice = begin / tensor_.ne[1], count = std::min(end, (slice + 1) * tensor_.ne[1]) - begin;
    encode_slice(static_cast<size_t>(slice), begin, count, rows, out);
    begin += count;
    rows += static_cast<size_t>(count) * source_row_;
    out += static_cast<size_t>(count) * target_row_;
  }
}

// Rows of one slice, which share a Hessian.
void RowEncoder::encode_slice(size_t slice, int64_t begin, int64_t n, const std::byte* rows, std::byte* out) const {
  const int64_t n_cols = tensor_.ne[0];
  const float* const importance = importance_[slice].empty() ? nullptr : importance_[slice].data();
  const LdlqEncoder* const ldlq = input_ != nullptr && ldlq_[slice] ? &*ldlq_[slice] : nullptr;
  // Where possible, a row stays in the cache between decoding and encoding, and is the only F32 data of a thread.
  const int64_t at_once = ldlq != nullptr || device_ != nullptr ? n : 1;
  static thread_local std::vector<float> values;
  values.resize(static_cast<size_t>(at_once * n_cols));
  for (int64_t first = 0; first < n; first += at_once, out += static_cast<size_t>(at_once) * target_row_) {
    const std::byte* const from = rows + static_cast<size_t>(first) * source_row_;
    for (int64_t r = 0; r < at_once; ++r) {
      decode(begin + first + r, from + static_cast<size_t>(r) * source_row_, values.data() + r * n_cols);
    }
    if (ldlq != nullptr) {
      ldlq->encode(values.data(), at_once, out);
    } else if (device_ != nullptr) {
      device_->encode(to_.type, values.data(), at_once, n_cols, importance, effort_, out);
    } else {
      to_.encoder->encode_row(values.data(), importance, n_cols / to_.block_len, effort_, out);
    }
    lost_.look(begin + first, at_once, from, out);
  }
}

std::vector<std::byte> encode_tensor(const gguf::Source& source, const plan::Decision& decision,
                                     const imatrix::Imatrix* imatrix, formats::Effort effort,
                                     const HessianEstimates* inputs) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  if (tensor.n_elements() == 0) return {};
  RowEncoder encoder(tensor, format(decision.type), imatrix, effort, source.path(),
                     inputs != nullptr ? inputs->find(tensor) : nullptr);
  std::vector<std::byte> bytes(static_cast<size_t>(decision.bytes));
  const int64_t per_slice = tensor.ne[1], at_once = std::max<int64_t>(encoder.min_rows(), 16);
  for (int64_t begin = 0; begin < tensor.n_rows(); begin += per_slice) {
    encoder.prepare(begin, per_slice);
    const size_t row_bytes = encoder.source_row_bytes();
    const gguf::Bytes slice = source.read(tensor, static_cast<uint64_t>(begin) * row_bytes,
                                          static_cast<uint64_t>(begin + per_slice) * row_bytes);
    parallel_for((per_slice + at_once - 1) / at_once, 1, [&](int64_t part) {
      const int64_t row = part * at_once;
      encoder.encode(begin + row, std::min(at_once, per_slice - row),
                     slice.data() + static_cast<size_t>(row) * row_bytes,
                     bytes.data() + static_cast<size_t>(begin + row) * encoder.target_row_bytes());
    });
  }
  return bytes;
}

}  // namespace steelyard::quantize
