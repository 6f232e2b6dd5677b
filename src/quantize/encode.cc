#include "quantize/encode.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"

namespace steelyard {
namespace {

// Source values held as F32 at a time (64 MiB), shared by all threads.
constexpr int64_t kSlabValues = int64_t{1} << 24;

}  // namespace

void encode_tensor(const gguf::TensorInfo& tensor, std::span<const std::byte> source, const Format& target,
                   const Imatrix* imatrix, const std::string& path,
                   const std::function<void(std::span<const std::byte>)>& sink) {
  const Format& from = format(tensor.type);
  STEELYARD_CHECK(from.decode != nullptr && target.encoder != nullptr);
  const int64_t n_cols = tensor.ne[0], n_rows = tensor.n_rows(), rows_per_slice = tensor.ne[1];
  const size_t source_row = *row_bytes(from, static_cast<uint64_t>(n_cols));
  const size_t target_row = *row_bytes(target, static_cast<uint64_t>(n_cols));
  const int64_t slab_rows = std::clamp<int64_t>(kSlabValues / n_cols, 1, n_rows);
  std::vector<float> values(static_cast<size_t>(slab_rows * n_cols));
  std::vector<std::byte> bytes(static_cast<size_t>(slab_rows) * target_row);

  // Importance of the slices (experts, heads) that the slab touches, [slices][n_cols]; empty: none is known.
  std::vector<std::vector<float>> importance;
  for (int64_t begin = 0; begin < n_rows; begin += slab_rows) {
    const int64_t n = std::min(slab_rows, n_rows - begin);
    const int64_t first_slice = begin / rows_per_slice, last_slice = (begin + n - 1) / rows_per_slice;
    importance.clear();
    for (int64_t slice = first_slice; slice <= last_slice; ++slice) {
      importance.push_back(imatrix != nullptr ? imatrix->importance(tensor, slice) : std::vector<float>{});
    }
    parallel_for(n, 4, [&](int64_t r) {
      float* row = values.data() + r * n_cols;
      from.decode(source.data() + static_cast<size_t>(begin + r) * source_row, n_cols / from.block_len, row);
      const float* bad = std::find_if_not(row, row + n_cols, [](float x) { return std::isfinite(x); });
      if (bad != row + n_cols) {
        fail(path, "tensor {} holds {} in row {}, column {}", printable(tensor.name), *bad, begin + r, bad - row);
      }
      const std::vector<float>& weights = importance[static_cast<size_t>((begin + r) / rows_per_slice - first_slice)];
      target.encoder->encode_row(row, weights.empty() ? nullptr : weights.data(), n_cols / target.block_len,
                                 bytes.data() + static_cast<size_t>(r) * target_row);
    });
    sink(std::span(bytes).first(static_cast<size_t>(n) * target_row));
  }
}

}  // namespace steelyard
