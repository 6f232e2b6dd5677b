// Names and keys of a model made of several files, in the spelling of llama.cpp's gguf-split (docs/gguf.md). For the
// reader, and for code that writes shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gguf/metadata.h"

namespace steelyard::gguf {

inline constexpr std::string_view kSplitNumber = "split.no";
inline constexpr std::string_view kSplitCount = "split.count";
inline constexpr std::string_view kSplitTensors = "split.tensors.count";

/// The largest value of split.count.
inline constexpr size_t kMaxShards = 65535;

/// The last part of the name of shard `number` (from 1) of `count`: "-00001-of-00003.gguf".
std::string shard_suffix(int64_t number, int64_t count);

/// `path` without the last part that marks a file of this format: without ".gguf", and without the suffix of a shard.
std::string without_shard_suffix(const std::string& path);

/// Sets the three keys, in the types that llama.cpp writes. number: from 0, below `count` <= kMaxShards.
void set_split_keys(Metadata& metadata, size_t number, size_t count, size_t n_tensors);
void erase_split_keys(Metadata& metadata);

}  // namespace steelyard::gguf
