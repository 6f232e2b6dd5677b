#include "gguf/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/byte_writer.h"
#include "base/check.h"

namespace steelyard::gguf {
namespace {

template <typename T>
KeyValue number_entry(std::string_view key, ValueType type, T value) {
  KeyValue entry{std::string(key), type, {}};
  ByteWriter<std::string>(entry.raw).number<T>(value);
  return entry;
}

}  // namespace

std::string shard_suffix(int64_t number, int64_t count) { return fmt::format("-{:05}-of-{:05}.gguf", number, count); }

std::string without_shard_suffix(const std::string& path) {
  constexpr std::string_view kExtension = ".gguf";
  if (!path.ends_with(kExtension)) return path;
  std::string stem = path.substr(0, path.size() - kExtension.size());
  // "-00001-of-00003": a dash and at least five digits, twice.
  const auto digits_before = [&](size_t end) {
    size_t begin = end;
    while (begin > 0 && stem[begin - 1] >= '0' && stem[begin - 1] <= '9') --begin;
    return end - begin >= 5 ? begin : std::string::npos;
  };
  const size_t count = digits_before(stem.size());
  if (count == std::string::npos || !std::string_view(stem).substr(0, count).ends_with("-of-")) return stem;
  const size_t number = digits_before(count - 4);
  if (number == std::string::npos || number < 1 || stem[number - 1] != '-') return stem;
  return stem.substr(0, number - 1);
}

void set_split_keys(Metadata& metadata, size_t number, size_t count, size_t n_tensors) {
  STEELYARD_CHECK(number < count && count <= kMaxShards && n_tensors <= std::numeric_limits<int32_t>::max());
  metadata.set(number_entry(kSplitNumber, ValueType::kUint16, static_cast<uint16_t>(number)));
  metadata.set(number_entry(kSplitCount, ValueType::kUint16, static_cast<uint16_t>(count)));
  metadata.set(number_entry(kSplitTensors, ValueType::kInt32, static_cast<int32_t>(n_tensors)));
}

void erase_split_keys(Metadata& metadata) {
  for (const std::string_view key : {kSplitNumber, kSplitCount, kSplitTensors}) metadata.erase(key);
}

}  // namespace steelyard::gguf
