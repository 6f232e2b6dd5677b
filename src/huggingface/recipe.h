// What the tensors of GGUF are made of: for each, views of weights of the checkpoint, one after the other. Made from an
// architecture's tables; folder.h makes rows by it.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"
#include "huggingface/architecture.h"

namespace steelyard::huggingface {

/// One tensor: parts that follow one another in its order. Without parts it is `values`.
struct Recipe {
  gguf::TensorInfo info;  ///< offset and shard are not set
  std::vector<View> parts;
  std::vector<int64_t> begins;  ///< the first value of each part, and the number of all
  float (*changed)(float) = nullptr;
  std::vector<float> values = {};

  /// The part that value i is in.
  size_t part_of(int64_t i) const {
    return static_cast<size_t>(std::ranges::upper_bound(begins, i) - begins.begin()) - 1;
  }
};

/// Recipes of a model, in the order of its blocks.
struct Recipes {
  std::vector<Recipe> recipes;
  int64_t n_layers = 0, n_blocks = 0;  ///< of the trunk; with those that predict further tokens
  std::vector<std::string> notes;      ///< what is left out, a line each
};

/// Error naming the tensor: one that nothing takes, experts that are missing, shapes that do not fit. `where`: a
/// checkpoint's tensor to the name of its file.
Recipes make_recipes(const Architecture& architecture, const Config& config,
                     std::span<const std::unique_ptr<StoredWeight>> weights,
                     const std::function<std::string(const StoredTensor&)>& where);

}  // namespace steelyard::huggingface
