// A model read into memory, to be changed and written again: well-formed files with wrong contents.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "gguf/writer.h"

namespace steelyard::test {

struct ModelCopy {
  struct Tensor {
    gguf::TensorInfo info;
    std::vector<std::byte> bytes;
  };

  explicit ModelCopy(const std::string& path) {
    const gguf::Reader reader(path);
    metadata = reader.metadata();
    for (const gguf::TensorInfo& info : reader.tensors()) {
      const auto bytes = reader.bytes(info);
      tensors.push_back({info, {bytes.begin(), bytes.end()}});
    }
  }

  std::vector<Tensor>::iterator find(const std::string& name) {
    return std::ranges::find_if(tensors, [&](const Tensor& tensor) { return tensor.info.name == name; });
  }
  void remove(const std::string& name) { tensors.erase(find(name)); }

  /// Writes a float into an F32 tensor.
  void set_value(const std::string& name, size_t index, float value) {
    std::memcpy(find(name)->bytes.data() + index * sizeof(float), &value, sizeof(float));
  }

  void save(const std::string& path) const {
    std::vector<gguf::TensorInfo> infos;
    for (const Tensor& tensor : tensors) infos.push_back(tensor.info);
    gguf::Writer writer(path, metadata, infos);
    for (const Tensor& tensor : tensors) writer.append(tensor.bytes);
    writer.finish();
  }

  gguf::Metadata metadata;
  std::vector<Tensor> tensors;
};

}  // namespace steelyard::test
