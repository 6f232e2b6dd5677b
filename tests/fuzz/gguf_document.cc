#include "fuzz/gguf_document.h"

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "gguf/tensor_info.h"

namespace steelyard::fuzz {
namespace {

constexpr uint32_t kString = 8, kArray = 9;
constexpr uint64_t kMostEntries = 4096;

DocumentValue read_document_value(ByteReader& in, uint32_t type) {
  DocumentValue value;
  value.type = type;
  if (type == kString) {
    value.scalar = in.string<uint64_t>();
  } else if (type == kArray) {
    value.element_type = in.number<uint32_t>();
    const auto count = in.number<uint64_t>(0, in.remaining());
    const size_t width = number_bytes(value.element_type);
    if (width == 0 && value.element_type != kString) in.reject("no element type");
    for (uint64_t i = 0; i < count; ++i) {
      value.elements.emplace_back(width > 0 ? in.text(width) : in.string<uint64_t>());
    }
  } else {
    if (number_bytes(type) == 0) in.reject("no type");
    value.scalar = in.text(number_bytes(type));
  }
  return value;
}

Document read_document(ByteReader& in) {
  Document document;
  if (in.text(4) != "GGUF") in.reject("no magic");
  document.version = in.number<uint32_t>();
  const auto n_tensors = in.number<uint64_t>(0, kMostEntries), n_keys = in.number<uint64_t>(0, kMostEntries);
  for (uint64_t i = 0; i < n_keys; ++i) {
    DocumentKey entry;
    entry.key = in.string<uint64_t>();
    entry.value = read_document_value(in, in.number<uint32_t>());
    document.keys.push_back(std::move(entry));
  }
  for (uint64_t i = 0; i < n_tensors; ++i) {
    DocumentTensor tensor;
    tensor.name = in.string<uint64_t>();
    tensor.dims = in.values<uint64_t>(in.number<uint32_t>(0, 16));
    tensor.type = in.number<uint32_t>();
    tensor.offset = in.number<uint64_t>();
    document.tensors.push_back(std::move(tensor));
  }
  document.tail = in.text(in.remaining());
  return document;
}

void write_text(ByteWriter<std::string>& out, std::string& bytes, std::string_view text, uint64_t length) {
  out.number<uint64_t>(length);
  bytes += text;
}

}  // namespace

size_t number_bytes(uint32_t type) {
  constexpr std::array<size_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kBytes.size() ? kBytes[type] : 0;
}

std::optional<Document> parse_document(std::string_view bytes) {
  ByteReader in(std::as_bytes(std::span(bytes)), "");
  try {
    return read_document(in);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void Document::lay_out() {
  constexpr uint64_t kAlignment = 32;
  uint64_t at = 0;
  for (DocumentTensor& tensor : tensors) {
    tensor.offset = at;
    std::array<int64_t, gguf::kMaxDims> ne = {1, 1, 1, 1};
    for (size_t d = 0; d < std::min(tensor.dims.size(), ne.size()); ++d) ne[d] = static_cast<int64_t>(tensor.dims[d]);
    const formats::Format* const format = formats::find_format(tensor.type);
    const bool sound = std::ranges::all_of(ne, [](int64_t n) { return n > 0 && n < (int64_t{1} << 15); });
    const auto n_bytes = format != nullptr && sound ? gguf::tensor_bytes(*format, ne) : std::nullopt;
    at += (n_bytes.value_or(0) + kAlignment - 1) / kAlignment * kAlignment;
  }
}

std::string Document::write(const Lie& lie) const {
  using About = Lie::About;
  std::string bytes = "GGUF";
  ByteWriter out(bytes);
  const auto told = [&](About about, size_t which, uint64_t truth) {
    return lie.about == about && lie.which == which ? lie.value : truth;
  };
  out.number<uint32_t>(static_cast<uint32_t>(told(About::kVersion, 0, version)));
  out.number<uint64_t>(told(About::kTensorCount, 0, tensors.size()));
  out.number<uint64_t>(told(About::kKeyCount, 0, keys.size()));
  for (size_t i = 0; i < keys.size(); ++i) {
    const DocumentValue& value = keys[i].value;
    write_text(out, bytes, keys[i].key, told(About::kKeyLength, i, keys[i].key.size()));
    out.number<uint32_t>(value.type);
    if (value.type == kString) {
      write_text(out, bytes, value.scalar, told(About::kStringLength, i, value.scalar.size()));
    } else if (value.type == kArray) {
      out.number<uint32_t>(value.element_type);
      out.number<uint64_t>(told(About::kArrayCount, i, value.elements.size()));
      for (const std::string& element : value.elements) {
        if (number_bytes(value.element_type) > 0)
          bytes += element;
        else
          write_text(out, bytes, element, element.size());
      }
    } else {
      bytes += value.scalar;
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const DocumentTensor& tensor = tensors[i];
    write_text(out, bytes, tensor.name, told(About::kNameLength, i, tensor.name.size()));
    out.number<uint32_t>(static_cast<uint32_t>(told(About::kDimCount, i, tensor.dims.size())));
    for (const uint64_t n : tensor.dims) out.number<uint64_t>(n);
    out.number<uint32_t>(tensor.type);
    out.number<uint64_t>(tensor.offset);
  }
  return bytes + tail;
}

}  // namespace steelyard::fuzz
