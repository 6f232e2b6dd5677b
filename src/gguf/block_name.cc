#include "gguf/block_name.h"

#include <charconv>

namespace steelyard::gguf {

std::optional<BlockName> block_name(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  constexpr int64_t kMost = 1'000'000;
  if (!tensor.starts_with(kPrefix)) return std::nullopt;
  const char* const last = tensor.data() + tensor.size();
  int64_t block = -1;
  const auto [end, error] = std::from_chars(tensor.data() + kPrefix.size(), last, block);
  if (error != std::errc() || end == last || *end != '.' || block < 0 || block > kMost) return std::nullopt;
  // "blk.03." is another name than "blk.3.", and a model can have both.
  const char first = tensor[kPrefix.size()];
  if (first == '-' || (first == '0' && end != tensor.data() + kPrefix.size() + 1)) return std::nullopt;
  return BlockName{block, static_cast<size_t>(end - tensor.data())};
}

}  // namespace steelyard::gguf
