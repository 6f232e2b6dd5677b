#include "quantize/lost_rows.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <span>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::quantize {
namespace {

constexpr int64_t kValues = 256;  // decoded at a time: the longest blocks have as many
constexpr int64_t kFirst = 16;    // at first: they are enough for nearly every row

bool has_weight(const formats::Format& format, const std::byte* row, int64_t n) {
  std::array<float, kValues> values;
  const int64_t n_blocks = n / format.block_len;
  for (int64_t block = 0, count = 0; block < n_blocks; block += count) {
    count = std::min(std::max<int64_t>(1, (block == 0 ? kFirst : kValues) / format.block_len), n_blocks - block);
    format.decode(row + block * format.block_bytes, count, values.data());
    const auto decoded = std::span(values).first(static_cast<size_t>(count * format.block_len));
    if (std::ranges::any_of(decoded, [](float value) { return value != 0.0f; })) return true;
  }
  return false;
}

}  // namespace

LostRows::LostRows(const gguf::TensorInfo& tensor, const formats::Format& to)
    : tensor_(tensor), from_(format(tensor.type)), to_(to), slices_(static_cast<size_t>(tensor.ne[2] * tensor.ne[3])) {
  STEELYARD_CHECK(from_.block_len <= kValues && to_.block_len <= kValues);
}

void LostRows::look(int64_t begin, int64_t n, const std::byte* rows, const std::byte* encoded) {
  const int64_t n_cols = tensor_.ne[0];
  const auto from_bytes = static_cast<size_t>(n_cols / from_.block_len * from_.block_bytes),
             to_bytes = static_cast<size_t>(n_cols / to_.block_len * to_.block_bytes);
  for (int64_t row = begin; row < begin + n; ++row, rows += from_bytes, encoded += to_bytes) {
    if (!has_weight(from_, rows, n_cols)) continue;
    Counts& slice = slices_[static_cast<size_t>(row / tensor_.ne[1])];
    std::atomic_ref(slice.rows).fetch_add(1, std::memory_order_relaxed);
    if (!has_weight(to_, encoded, n_cols)) std::atomic_ref(slice.lost).fetch_add(1, std::memory_order_relaxed);
  }
}

void LostRows::add_to(std::vector<plan::Finding>& found) const {
  int64_t n_slices = 0, lost_slices = 0, lost_rows = 0;
  for (const Counts& slice : slices_) {
    n_slices += slice.rows > 0;
    lost_slices += slice.rows > 0 && slice.lost == slice.rows;
    lost_rows += slice.lost;
  }
  const std::string name = printable(tensor_.name);
  const auto add_finding = [&](plan::Severity severity, std::string_view what, const std::string& how_many) {
    add(found, severity, what, fmt::format("{} ({}{})", name, to_.name, how_many));
  };
  if (lost_slices > 0 && lost_slices == n_slices) {
    add_finding(plan::Severity::kWarning, "all weights became zero: they are too small for the type", "");
  } else if (lost_slices > 0) {
    add_finding(plan::Severity::kWarning, "all weights of an expert became zero: they are too small for the type",
                fmt::format(", {} of {} experts", lost_slices, slices_.size()));
  } else if (lost_rows > 0) {
    add_finding(plan::Severity::kNote, "all weights of a row became zero: they are too small for the type",
                fmt::format(", {} of {} rows", lost_rows, tensor_.n_rows()));
  }
}

}  // namespace steelyard::quantize
