#include "gguf/layout.h"

#include <bit>
#include <span>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "base/byte_writer.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text_hash.h"

namespace steelyard::gguf {

namespace {

std::string header_bytes(const Metadata& metadata, std::span<const TensorInfo> tensors, uint64_t alignment) {
  std::string header;
  ByteWriter out(header);
  out.text("GGUF");
  out.number<uint32_t>(3);
  out.number<uint64_t>(tensors.size());
  out.number<uint64_t>(metadata.entries().size());
  for (const KeyValue& entry : metadata.entries()) {
    out.string<uint64_t>(entry.key);
    out.number<uint32_t>(static_cast<uint32_t>(entry.type));
    out.text(entry.raw);
  }
  for (const TensorInfo& tensor : tensors) {
    out.string<uint64_t>(tensor.name);
    out.number<uint32_t>(static_cast<uint32_t>(tensor.n_dims));
    for (size_t d = 0; d < static_cast<size_t>(tensor.n_dims); ++d) out.number<int64_t>(tensor.ne[d]);
    out.number<uint32_t>(static_cast<uint32_t>(tensor.type));
    out.number<uint64_t>(tensor.offset);
  }
  header.resize(*checked_align(header.size(), alignment), '\0');
  return header;
}

// llama.cpp loads powers of two only.
uint64_t loadable_alignment(const std::string& path, const Metadata& metadata) {
  const uint64_t alignment = data_alignment(metadata);
  if (!std::has_single_bit(alignment)) {
    fail(path, "key '{}': found {}, expected a power of two to write", kAlignmentKey, alignment);
  }
  return alignment;
}

}  // namespace

Layout lay_out(const std::string& path, const Metadata& metadata, std::vector<TensorInfo> tensors) {
  const uint64_t alignment = loadable_alignment(path, metadata);
  uint64_t data_bytes = 0;
  std::unordered_set<std::string_view, TextHash> names;
  for (TensorInfo& tensor : tensors) {
    STEELYARD_CHECK(!tensor.name.empty() && names.insert(tensor.name).second);
    STEELYARD_CHECK(tensor.n_dims >= 0 && tensor.n_dims <= kMaxDims);
    const auto n_bytes = tensor_bytes(format(tensor.type), tensor.ne);
    STEELYARD_CHECK(n_bytes.has_value());
    tensor.n_bytes = *n_bytes;
    tensor.offset = data_bytes;
    tensor.shard = 0;
    const auto padded = checked_align(tensor.n_bytes, alignment);
    const auto end = padded ? checked_add(data_bytes, *padded) : std::nullopt;
    if (!end) fail(path, "tensor '{}': all tensors together exceed 2^64 bytes", printable(tensor.name));
    data_bytes = *end;
  }
  Layout layout;
  layout.header = header_bytes(metadata, tensors, alignment);
  layout.tensors = std::move(tensors);
  const auto file_bytes = checked_add(layout.header.size(), data_bytes);
  if (!file_bytes) fail(path, "header and tensors together exceed 2^64 bytes");
  layout.file_bytes = *file_bytes;
  return layout;
}

}  // namespace steelyard::gguf
