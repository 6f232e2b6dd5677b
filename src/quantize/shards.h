// How the result is cut into files, decided before the first byte: one file, shards up to a size, or the shards of the
// source.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/layout.h"

namespace steelyard::quantize {

struct Split {
  uint64_t max_bytes = 0;  ///< tensor bytes of a shard at most, padding included; 0: no limit, one file
  bool keep = false;       ///< a shard for each shard of the source; excludes max_bytes

  bool operator==(const Split&) const = default;
};

/// One file of the result.
struct ShardFile {
  std::string path;
  gguf::Metadata metadata;
  std::vector<gguf::TensorInfo> tensors;
};

/// Cuts as gguf-split of llama.cpp does: in the given order, with a new shard where the next tensor would exceed the
/// limit (a tensor larger than it stands alone). The first shard has all of the metadata, the others only what shards
/// need. `tensors`: with `shard` as in the source. "out.gguf" becomes "out-00001-of-00003.gguf" and so on. A source of
/// one file stays one file under `keep`. Error if there are more shards than the format can count.
std::vector<ShardFile> cut(const std::string& target, const gguf::Metadata& metadata,
                           std::span<const gguf::TensorInfo> tensors, const Split& split);

/// The files that cut() names for `count` shards; 0: the one file `target`.
std::vector<std::string> shard_paths(const std::string& target, size_t count);

}  // namespace steelyard::quantize
