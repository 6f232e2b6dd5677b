// Changes to a model before any plan: metadata values are replaced, blocks are removed. Pure: the new model is derived
// from the header alone.
//
// The returned tensors are those to resolve, check and write. Each keeps the place of its data in the source (shard,
// offset, n_bytes), so Reader::bytes() finds it. Only names change. An importance matrix has the source's names, and is
// renamed with `names` (imatrix/selection.h). Plan rules see the new names. Called by quantize.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "gguf/tensor_info.h"
#include "imatrix/selection.h"

namespace steelyard::quantize {

struct Edits {
  std::vector<std::string> overrides;  ///< KEY=TYPE:VALUE, with TYPE int, float, bool or str
  std::string prune_layers;            ///< blocks to remove: "3,7-9"; empty for none

  bool empty() const { return overrides.empty() && prune_layers.empty(); }
};

struct EditedModel {
  gguf::Metadata metadata;
  std::vector<gguf::TensorInfo> tensors;  ///< in the order of the source
  std::vector<imatrix::EntryName> names;  ///< [tensors] the name in the source, and the new one
};

/// Removes blocks first, then replaces values. Error for input that cannot be parsed, a block that does not exist, a
/// value whose type is not that of the key, and layer metadata that would be wrong for the remaining layers.
EditedModel apply(const Edits& edits, const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors);

/// Sets KEY to VALUE as in `assignment`. A key that exists keeps its stored width if the value fits. Otherwise integers
/// become the first of u32, i32, u64, i64 that holds them, and floats f32. Error for a type other than the key's.
void override_value(gguf::Metadata& metadata, std::string_view assignment);

/// Sets an integer in the stored width of an existing key if it fits, else as above.
void set_integer(gguf::Metadata& metadata, std::string_view key, int64_t value);

}  // namespace steelyard::quantize
