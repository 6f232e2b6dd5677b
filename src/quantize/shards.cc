#include "quantize/shards.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "gguf/shards.h"

namespace steelyard::quantize {
namespace {

// Where each shard begins: indices of tensors, the first one 0.
std::vector<size_t> first_tensors(std::span<const gguf::TensorInfo> tensors, const Split& split, uint64_t alignment) {
  std::vector<size_t> first = {0};
  if (split.keep) {
    // gguf-split can give the first shard to the metadata alone. Every other shard has tensors.
    int shard = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].shard != shard) first.push_back(i);
      shard = tensors[i].shard;
    }
    return first;
  }
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto padded = checked_align(*gguf::tensor_bytes(format(tensors[i].type), tensors[i].ne), alignment);
    const auto sum = padded ? checked_add(bytes, *padded) : std::nullopt;
    const bool fits = sum && *sum <= split.max_bytes;
    if (!fits && i > first.back()) {
      first.push_back(i);
      bytes = padded.value_or(split.max_bytes);
    } else {
      bytes = sum.value_or(split.max_bytes);
    }
  }
  return first;
}

// The metadata of a shard other than the first: its numbers, and the alignment.
gguf::Metadata later_metadata(const gguf::Metadata& metadata) {
  gguf::Metadata result(metadata.source());
  if (const gguf::KeyValue* alignment = metadata.find(gguf::kAlignmentKey)) result.set(*alignment);
  return result;
}

}  // namespace

std::vector<std::string> shard_paths(const std::string& target, size_t count) {
  if (count == 0) return {target};
  std::vector<std::string> paths;
  const std::string stem = gguf::without_shard_suffix(target);
  for (size_t i = 1; i <= count; ++i) {
    paths.push_back(stem + gguf::shard_suffix(static_cast<int64_t>(i), static_cast<int64_t>(count)));
  }
  return paths;
}

std::vector<ShardFile> cut(const std::string& target, const gguf::Metadata& metadata,
                           std::span<const gguf::TensorInfo> tensors, const Split& split) {
  const bool one_source = std::ranges::all_of(tensors, [](const gguf::TensorInfo& t) { return t.shard == 0; });
  const bool one_file = split.keep ? one_source : split.max_bytes == 0;
  if (one_file) return {{target, metadata, {tensors.begin(), tensors.end()}}};

  std::vector<size_t> first = first_tensors(tensors, split, gguf::data_alignment(metadata));
  const size_t count = first.size();
  if (count > gguf::kMaxShards) {
    fail(target, "would be cut into {} shards, at most {} are possible", count, gguf::kMaxShards);
  }
  first.push_back(tensors.size());
  const std::vector<std::string> paths = shard_paths(target, count);
  std::vector<ShardFile> files;
  for (size_t i = 0; i < count; ++i) {
    const auto of_shard = tensors.subspan(first[i], first[i + 1] - first[i]);
    files.push_back({paths[i], i == 0 ? metadata : later_metadata(metadata), {of_shard.begin(), of_shard.end()}});
    gguf::set_split_keys(files.back().metadata, i, count, tensors.size());
  }
  return files;
}

}  // namespace steelyard::quantize
