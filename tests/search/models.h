// Tensor lists of models, and made-up sensitivities for them.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "gguf/block_name.h"
#include "gguf/reader.h"
#include "plan/protection.h"
#include "search/sensitivity.h"
#include "support.h"

namespace steelyard::search {

using Tensors = std::vector<gguf::TensorInfo>;

/// Every file below `folder` whose name ends so, sorted; nothing when there is no such folder.
inline std::vector<std::string> files(const std::string& folder, const std::string& ending) {
  std::vector<std::string> paths;
  if (!std::filesystem::exists(folder)) return paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().string().ends_with(ending)) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Headers of real models without their data; none where the reference data is absent.
inline std::vector<std::string> real_headers() { return files(test::shared("skeletons"), ".header.gguf"); }

inline Tensors read_tensors(const std::string& path) {
  const gguf::Reader reader(path, gguf::ReadMode::kHeader);
  return {reader.tensors().begin(), reader.tensors().end()};
}

/// Those in which there is something to choose: rows of most matrices divide into blocks.
inline std::vector<std::string> golden_models() {
  std::vector<std::string> paths = files(test::golden("models"), "model.gguf");
  std::erase_if(paths, [](const std::string& path) {
    int64_t n_divided = 0;
    for (const gguf::TensorInfo& tensor : read_tensors(path)) {
      if (tensor.n_dims >= 2) n_divided += tensor.ne[0] % 32 == 0 ? 1 : -1;
    }
    return n_divided < 0;
  });
  return paths;
}

/// Types that can be written, F32 aside.
inline std::vector<const formats::Format*> targets() {
  std::vector<const formats::Format*> result;
  for (const formats::Format* format : formats::all_formats()) {
    if (format->encoder != nullptr && format->is_quantized()) result.push_back(format);
  }
  return result;
}

/// One group per quantizable tensor, of every type that its rows divide into. What a tensor loses falls by a factor of
/// four per bit, differs between kinds and layers, and is noisy.
inline std::vector<Group> made_up_groups(const Tensors& tensors, uint64_t seed) {
  Random random(seed);
  std::vector<Group> groups;
  for (const gguf::TensorInfo& tensor : tensors) {
    if (plan::protection(tensor)) continue;
    const auto block = gguf::block_name(tensor.name);
    const std::string kind = block ? tensor.name.substr(block->end) : tensor.name;
    const double of_kind = std::exp(3 * Random(std::hash<std::string>()(kind)).uniform());
    const double of_layer = block ? 1 + 4 * std::exp(-static_cast<double>(block->block) / 4) : 1;
    const double scale = of_kind * of_layer * std::sqrt(static_cast<double>(tensor.n_elements())) * 1e-6;
    Group& group = groups.emplace_back(Group{.tensors = {tensor.name}, .candidates = {}});
    for (const formats::Format* format : targets()) {
      const auto bytes = gguf::tensor_bytes(*format, tensor.ne);
      if (!bytes) continue;
      const double bits = 8.0 * format->block_bytes / format->block_len;
      group.candidates.push_back(
          {format->type, *bytes, scale * std::exp2(-2 * bits) * std::exp(0.6 * random.uniform())});
    }
    if (group.candidates.empty()) group.candidates.push_back({tensor.type, tensor.n_bytes, 0});
  }
  return groups;
}

inline std::pair<uint64_t, uint64_t> range(const std::vector<Group>& groups) {
  uint64_t least = 0, most = 0;
  for (const Group& group : groups) {
    const std::vector<size_t> kept = undominated(group.candidates);
    least += group.candidates[kept.front()].bytes;
    most += group.candidates[kept.back()].bytes;
  }
  return {least, most};
}

}  // namespace steelyard::search
