#include "gguf/tensor_info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "base/checked.h"

namespace steelyard::gguf {

std::string shape_string(const TensorInfo& tensor) {
  const auto n_dims = static_cast<size_t>(tensor.n_dims);
  return fmt::format("[{}]", fmt::join(std::span(tensor.ne).first(n_dims), ", "));
}

std::optional<uint64_t> tensor_bytes(const formats::Format& format, const std::array<int64_t, kMaxDims>& ne) {
  if (ne[0] < 0) return std::nullopt;
  std::optional<uint64_t> bytes = row_bytes(format, static_cast<uint64_t>(ne[0]));
  for (size_t d = 1; d < ne.size() && bytes; ++d) {
    bytes = ne[d] < 0 ? std::nullopt : checked_mul(*bytes, static_cast<uint64_t>(ne[d]));
  }
  return bytes;
}

}  // namespace steelyard::gguf
