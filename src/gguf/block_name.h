// Parses "blk.N.…", the GGUF names of the tensors of block N. The only place that does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace steelyard::gguf {

struct BlockName {
  int64_t block;  ///< N, at most a million: a larger one is a name like any other
  size_t end;     ///< where ".…" begins
};

/// Nothing for names of other tensors, for "blk.3" with nothing after it, and for "blk.03.": block and rest are the
/// name.
std::optional<BlockName> block_name(std::string_view tensor);

/// N alone.
inline std::optional<int64_t> block_of(std::string_view tensor) {
  const auto name = block_name(tensor);
  return name ? std::optional(name->block) : std::nullopt;
}

}  // namespace steelyard::gguf
