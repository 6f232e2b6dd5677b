// GGUF with general.type "imatrix": two F32 tensors per entry, "<name>.in_sum2" [n_in, n_expert] and "<name>.counts"
// [1, n_expert]. Layout: docs/imatrix.md.
#include "imatrix/gguf_file.h"

#include <cmath>

#include "base/byte_reader.h"
#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/writer.h"

namespace steelyard::imatrix {
namespace {

constexpr std::string_view kSumsSuffix = ".in_sum2";
constexpr std::string_view kCountsSuffix = ".counts";
// Keeps the conversion to int64 defined; how large a count may be is the caller's to check.
constexpr float kMaxStoredCount = 0x1p62f;

std::vector<float> floats(const gguf::Reader& reader, const gguf::TensorInfo& tensor) {
  if (tensor.type != formats::Type::F32) {
    fail(reader.path(), "{} is {}, expected F32", printable(tensor.name), format(tensor.type).name);
  }
  return ByteReader(reader.bytes(tensor), reader.path()).values<float>(tensor.n_bytes / sizeof(float));
}

const gguf::TensorInfo& partner(const gguf::Reader& reader, const gguf::TensorInfo& tensor, const std::string& name) {
  const gguf::TensorInfo* found = reader.find(name);
  if (!found) fail(reader.path(), "{} has no partner {}", printable(tensor.name), printable(name));
  return *found;
}

ImatrixEntry read_entry(const gguf::Reader& reader, const gguf::TensorInfo& sums, const gguf::TensorInfo& counts) {
  if (sums.n_elements() == 0 || sums.ne[2] != 1 || sums.ne[3] != 1) {
    fail(reader.path(), "{} is {}, expected [n_in, n_expert]", printable(sums.name), shape_string(sums));
  }
  ImatrixEntry entry{.n_in = sums.ne[0], .n_expert = sums.ne[1], .in_sum2 = {}, .counts = {}};
  if (counts.ne != std::array<int64_t, gguf::kMaxDims>{1, entry.n_expert, 1, 1}) {
    fail(reader.path(), "{} is {}, expected [1, {}] beside {} {}", printable(counts.name), shape_string(counts),
         entry.n_expert, printable(sums.name), shape_string(sums));
  }
  const std::vector<float> sum_values = floats(reader, sums);
  entry.in_sum2.assign(sum_values.begin(), sum_values.end());
  for (const float count : floats(reader, counts)) {
    if (!(count >= 0 && count <= kMaxStoredCount && count == std::floor(count))) {
      fail(reader.path(), "{} holds {}, expected whole numbers from 0", printable(counts.name), count);
    }
    entry.counts.push_back(static_cast<int64_t>(count));
  }
  return entry;
}

gguf::TensorInfo f32_tensor(std::string name, int64_t ne0, int64_t ne1) {
  gguf::TensorInfo tensor;
  tensor.name = std::move(name);
  tensor.n_dims = ne1 == 1 ? 1 : 2;
  tensor.ne = {ne0, ne1, 1, 1};
  return tensor;
}

template <typename T>
void append(gguf::Writer& writer, const std::vector<T>& values) {
  const std::vector<float> stored(values.begin(), values.end());
  writer.append(std::as_bytes(std::span(stored)));
}

}  // namespace

Imatrix load_gguf_imatrix(const std::string& path) {
  const gguf::Reader reader(path);
  const gguf::Metadata& metadata = reader.metadata();
  const std::string_view type = metadata.string("general.type", "");
  if (type != "imatrix") fail(path, "general.type is \"{}\", expected \"imatrix\": not an imatrix", printable(type));

  Imatrix imatrix;
  for (const std::string_view dataset : metadata.strings("imatrix.datasets")) imatrix.datasets.emplace_back(dataset);
  imatrix.chunk_count = metadata.integer("imatrix.chunk_count");
  imatrix.chunk_size = metadata.integer("imatrix.chunk_size");
  // Tensors with other suffixes are not ours: newer writers may add statistics.
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const std::string_view name = tensor.name;
    if (name.ends_with(kSumsSuffix)) {
      const std::string weight(name.substr(0, name.size() - kSumsSuffix.size()));
      const gguf::TensorInfo& counts = partner(reader, tensor, weight + std::string(kCountsSuffix));
      imatrix.entries.emplace(weight, read_entry(reader, tensor, counts));
    } else if (name.ends_with(kCountsSuffix)) {
      const std::string weight(name.substr(0, name.size() - kCountsSuffix.size()));
      partner(reader, tensor, weight + std::string(kSumsSuffix));
    }
  }
  return imatrix;
}

void save_gguf_imatrix(const Imatrix& imatrix, const std::string& path) {
  gguf::Metadata metadata(path);
  metadata.set_string("general.type", "imatrix");
  metadata.set_strings("imatrix.datasets", imatrix.datasets);
  metadata.set_integer("imatrix.chunk_count", static_cast<uint32_t>(imatrix.chunk_count));
  metadata.set_integer("imatrix.chunk_size", static_cast<uint32_t>(imatrix.chunk_size));

  std::vector<gguf::TensorInfo> tensors;
  for (const auto& [name, entry] : imatrix.entries) {
    tensors.push_back(f32_tensor(name + std::string(kSumsSuffix), entry.n_in, entry.n_expert));
    tensors.push_back(f32_tensor(name + std::string(kCountsSuffix), 1, entry.n_expert));
  }
  gguf::Writer writer(path, metadata, std::move(tensors));
  for (const auto& [name, entry] : imatrix.entries) {
    append(writer, entry.in_sum2);
    append(writer, entry.counts);
  }
  writer.finish();
}

}  // namespace steelyard::imatrix
