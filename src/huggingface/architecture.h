// How checkpoints of an architecture become a model in GGUF's terms: which tensor is called what, how its values are
// arranged, and which keys its configuration gives. One description for each (arch/), made of tables; lists that
// several share are in rules.h. Names and arrangements are those that llama.cpp reads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "huggingface/config.h"
#include "huggingface/keys.h"
#include "huggingface/view.h"

namespace steelyard::huggingface {

/// What becomes of a tensor. Several rules of one tensor make several of it, or, where they lead to one name, its parts
/// in their order.
struct TensorRule {
  /// Its name in a checkpoint; {} is a number: of a block, then of an expert. Experts are stacked.
  std::string_view from;
  /// Its name in GGUF; {} is the block. Empty: it is not needed.
  std::string_view to;
  /// Arranges its values; null: as they are.
  View (*arranged)(const View&, const Config&) = nullptr;
  /// Changes each value; null: none.
  float (*changed)(float) = nullptr;
};

/// A tensor that no checkpoint has, F32.
struct GeneratedTensor {
  std::string name;
  std::vector<float> values;
};

struct Architecture {
  std::string_view name;                             ///< general.architecture
  std::span<const std::string_view> classes;         ///< of transformers
  std::vector<std::span<const TensorRule>> rules;    ///< the first list that has a name counts for it
  void (*add_keys)(const Config&, Keys&) = nullptr;  ///< besides the common ones (add_common_keys)
  std::vector<GeneratedTensor> (*generate)(const Config&) = nullptr;
  bool has_prediction = false;   ///< blocks after the last layer predict further tokens; else they are left out
  bool cuts_vocabulary = false;  ///< the embedding has no more rows than the tokenizer has tokens
};

/// The architecture for a class of transformers. Error at `where` that lists the known ones.
const Architecture& find_architecture(const std::string& class_name, const std::string& where);

/// All, in the order of arch/archs.def.
std::vector<const Architecture*> all_architectures();

}  // namespace steelyard::huggingface
