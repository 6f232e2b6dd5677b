// Parses GGUF headers: the sections of this file follow the file's layout (docs/gguf.md).
//
// The header is foreign input. Work and memory stay linear in its real size: a count is compared with the room for that
// many entries before anything is reserved, and comparisons of all entries with each other use a sort or a hash.
#include "gguf/reader.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "gguf/shards.h"

namespace steelyard::gguf {

namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxNameBytes = 1024;

// The smallest size of an entry: length and one byte of name, then type id and one byte of value, or n_dims, no
// dimension, type id and offset.
constexpr uint64_t kMinKeyValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 4 + 8;

uint32_t read_version(ByteReader& in) {
  const std::string_view magic = in.text(kMagic.size());
  if (magic != kMagic) in.reject("found magic '{}', expected 'GGUF'", printable(magic));
  const auto version = in.number<uint32_t>();
  // Versions will fit into 16 bits for a long time. If the low half is empty, the bytes are in the other order.
  if (version != 0 && (version & 0xFFFF) == 0) in.reject("found a big-endian file, expected little-endian");
  if (version != 2 && version != 3) in.reject("found GGUF version {}, expected 2 or 3", version);
  return version;
}

// A count of entries, each of which takes at least `min_bytes` of what is left of the file.
uint64_t read_count(ByteReader& in, std::string_view what, uint64_t min_bytes) {
  const auto count = in.number<uint64_t>();
  const uint64_t room = in.remaining() / min_bytes;
  if (count > room) {
    in.reject("found {} {}, expected at most {} in {} bytes", count, what, room, in.remaining());
  }
  return count;
}

std::vector<KeyValue> read_key_values(ByteReader& in, uint64_t count) {
  std::vector<KeyValue> entries;
  entries.reserve(count);
  std::unordered_set<std::string_view, TextHash> keys;  // views of the map, which stays
  for (uint64_t i = 0; i < count; ++i) {
    in.set_subject(fmt::format("key {} of {}", i + 1, count));
    const std::string_view key = in.string<uint64_t>();
    if (key.empty() || key.size() > kMaxKeyBytes) {
      in.reject("found a key of {} bytes, expected 1 to {}", key.size(), kMaxKeyBytes);
    }
    in.set_subject(fmt::format("key '{}'", printable(key)));
    if (!keys.insert(key).second) in.reject("found twice, expected once");
    const auto type = static_cast<ValueType>(in.number<uint32_t>());
    const std::string_view raw = read_value(in, type);
    entries.push_back({std::string(key), type, std::string(raw)});
  }
  return entries;
}

// Shape of a tensor: up to 4 dimensions, whose product fits int64. Without dimensions it is one value. A dimension of
// length 0 makes it empty; the product of the others must fit then, so that no partial product wraps.
void read_shape(ByteReader& in, TensorInfo& tensor) {
  const auto n_dims = in.number<uint32_t>();
  if (n_dims > kMaxDims) in.reject("found {} dimensions, expected at most {}", n_dims, kMaxDims);
  tensor.n_dims = static_cast<int>(n_dims);
  int64_t product = 1;
  for (size_t d = 0; d < n_dims; ++d) {
    tensor.ne[d] = in.number<int64_t>();
    if (tensor.ne[d] < 0) in.reject("found dimension {} of length {}, expected at least 0", d, tensor.ne[d]);
    if (tensor.ne[d] > 0 && __builtin_mul_overflow(product, tensor.ne[d], &product)) {
      in.reject("found shape {}, expected fewer than 2^63 values", shape_string(tensor));
    }
  }
}

TensorInfo read_tensor_info(ByteReader& in, uint64_t alignment) {
  TensorInfo tensor;
  const std::string_view name = in.string<uint64_t>();
  if (name.empty() || name.size() > kMaxNameBytes) {
    in.reject("found a name of {} bytes, expected 1 to {}", name.size(), kMaxNameBytes);
  }
  tensor.name = name;
  in.set_subject(fmt::format("tensor '{}'", printable(name)));
  read_shape(in, tensor);

  const auto type = in.number<uint32_t>();
  const formats::Format* format = formats::find_format(type);
  if (format == nullptr) in.reject("found type id {}, expected the id of a known GGUF tensor type", type);
  tensor.type = format->type;
  const auto n_bytes = tensor_bytes(*format, tensor.ne);
  if (tensor.ne[0] % format->block_len != 0) {
    in.reject("found rows of {} values, expected a multiple of {} for {}", tensor.ne[0], format->block_len,
              format->name);
  }
  if (!n_bytes) {
    in.reject("found shape {}, expected fewer than 2^64 bytes of {}", shape_string(tensor), format->name);
  }
  tensor.n_bytes = *n_bytes;

  tensor.offset = in.number<uint64_t>();
  if (tensor.offset % alignment != 0) {
    in.reject("found offset {}, expected a multiple of the alignment {}", tensor.offset, alignment);
  }
  if (!checked_add(tensor.offset, tensor.n_bytes)) {
    in.reject("found {} bytes at offset {}, expected an end below 2^64", tensor.n_bytes, tensor.offset);
  }
  return tensor;
}

// Tensors of one shard may be in any order and leave gaps, but must not share bytes. Empty ones have none.
void check_disjoint(const std::string& path, std::span<const TensorInfo> tensors) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) {
    if (tensor.n_bytes > 0) by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo &before = *by_offset[i - 1], &after = *by_offset[i];
    const uint64_t end = before.offset + before.n_bytes;
    if (end > after.offset) {
      fail(path, "tensor '{}': found offset {}, expected at least {}, where tensor '{}' ends", printable(after.name),
           after.offset, end, printable(before.name));
    }
  }
}

}  // namespace

Reader::Reader(const std::string& path, ReadMode mode) : Source(path), mode_(mode) {
  metadata_ = read_shard(path);
  alignment_ = data_alignment(metadata_);
  read_remaining_shards();
  index_tensors();
}

// Appends one file and its tensors; returns its metadata.
Metadata Reader::read_shard(const std::string& path) {
  const std::span<const std::byte> file = files_.emplace_back(path).bytes();
  ByteReader in(file, path);
  in.set_subject("header");
  const uint32_t version = read_version(in);
  if (files_.size() == 1) version_ = version;
  const uint64_t n_tensors = read_count(in, "tensors", kMinTensorInfoBytes);
  const uint64_t n_kv = read_count(in, "keys", kMinKeyValueBytes);
  Metadata metadata(path, read_key_values(in, n_kv));

  const uint64_t alignment = data_alignment(metadata);
  const size_t first = tensors_.size();
  for (uint64_t i = 0; i < n_tensors; ++i) {
    in.set_subject(fmt::format("tensor {} of {}", i + 1, n_tensors));
    tensors_.push_back(read_tensor_info(in, alignment));
    tensors_.back().shard = static_cast<int>(files_.size()) - 1;
  }
  const std::span<const TensorInfo> tensors = std::span(tensors_).subspan(first);
  check_disjoint(path, tensors);

  // No overflow: a position in a file is far below 2^64. A file without tensors may end before the padding does.
  data_begin_.push_back(*checked_align(in.position(), alignment));
  const uint64_t data_bytes = file.size() - std::min<uint64_t>(file.size(), data_begin_.back());
  for (const TensorInfo& tensor : tensors) {
    const uint64_t end = tensor.offset + tensor.n_bytes;
    if (mode_ == ReadMode::kData && tensor.n_bytes > 0 && end > data_bytes) {
      fail(path, "tensor '{}': found {} bytes in the data section, expected at least {}; the file is cut short",
           printable(tensor.name), data_bytes, end);
    }
  }
  return metadata;
}

// The first shard says how many there are; their names follow from its name.
void Reader::read_remaining_shards() {
  const int64_t count = metadata_.integer(kSplitCount, 1);
  const int64_t number = metadata_.integer(kSplitNumber, 0);
  if (count <= 1) return;
  const std::string suffix = shard_suffix(1, count);
  if (number != 0) {
    fail(path_, "found split.no {} of {} shards, expected 0: open the one that ends in {}", number, count, suffix);
  }
  if (!path_.ends_with(suffix)) {
    fail(path_, "found the first of {} shards, expected a file name that ends in {}", count, suffix);
  }
  const std::string prefix = path_.substr(0, path_.size() - suffix.size());
  const auto expect = [](const Metadata& metadata, std::string_view key, int64_t expected) {
    const int64_t found = metadata.integer(key);
    if (found != expected) fail(metadata.source(), "key '{}': found {}, expected {}", key, found, expected);
  };
  for (int64_t i = 1; i < count; ++i) {
    const Metadata shard = read_shard(prefix + shard_suffix(i + 1, count));
    expect(shard, kSplitNumber, i);
    expect(shard, kSplitCount, count);
  }
  if (metadata_.contains(kSplitTensors)) expect(metadata_, kSplitTensors, static_cast<int64_t>(tensors_.size()));
}

std::span<const std::byte> Reader::header(int shard) const {
  const std::span<const std::byte> file = files_[static_cast<size_t>(shard)].bytes();
  return file.first(std::min<uint64_t>(file.size(), data_begin_[static_cast<size_t>(shard)]));
}

uint64_t Reader::file_offset(const TensorInfo& tensor) const {
  return data_begin_[static_cast<size_t>(tensor.shard)] + tensor.offset;
}

void Reader::will_need(const TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  if (begin >= end) return;
  const uint64_t at = file_offset(tensor);
  files_[static_cast<size_t>(tensor.shard)].will_need(at + begin, at + end);
}

void Reader::release(const TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  if (begin >= end) return;
  const uint64_t at = file_offset(tensor);
  files_[static_cast<size_t>(tensor.shard)].release(at + begin, at + end);
}

std::span<const std::byte> Reader::bytes(const TensorInfo& tensor) const {
  STEELYARD_CHECK(mode_ == ReadMode::kData);
  if (tensor.n_bytes == 0) return {};  // its offset may lie beyond the end of the file
  const auto shard = static_cast<size_t>(tensor.shard);
  STEELYARD_CHECK(shard < files_.size());
  const std::span<const std::byte> data = files_[shard].bytes().subspan(data_begin_[shard]);
  STEELYARD_CHECK(tensor.offset <= data.size() && tensor.n_bytes <= data.size() - tensor.offset);
  return data.subspan(tensor.offset, tensor.n_bytes);
}

Bytes Reader::read(const TensorInfo& tensor, uint64_t begin, uint64_t end) const {
  return {bytes(tensor).subspan(begin, end - begin)};
}

}  // namespace steelyard::gguf
