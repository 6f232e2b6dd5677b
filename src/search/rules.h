// The rules that give every tensor of a model its type, as few as can be found: for each kind of tensor
// ("attn_v.weight" of all layers) its commonest type is a general rule or the base, and other types are rules for sets
// of layers before it. Kinds that need the same sets share a rule. plan_text() writes these rules, simplify() counts
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"

namespace steelyard::search {

/// A set of layers, by their place among the layers that a model has.
class LayerBits {
 public:
  LayerBits() = default;
  explicit LayerBits(size_t n_layers) : words_((n_layers + 63) / 64) {}
  void set(size_t layer) { words_[layer / 64] |= uint64_t{1} << layer % 64; }
  bool test(size_t layer) const { return (words_[layer / 64] >> layer % 64 & 1) != 0; }
  LayerBits operator|(const LayerBits& other) const;
  LayerBits operator&(const LayerBits& other) const;
  bool operator==(const LayerBits& other) const = default;

 private:
  std::vector<uint64_t> words_;
};

/// The tensors of all layers that are called alike, or one tensor outside of layers.
struct Kind {
  std::string name;  ///< what follows "blk.N.", or the whole name
  bool in_layers = false;
  std::vector<size_t> tensors;  ///< positions in Kinds::tensors, by layer
  std::vector<size_t> layers;   ///< of these: positions in Kinds::layers; empty outside of layers
  LayerBits present;            ///< the same as a set
};

/// The kinds of a model: what plans decide about. Protected tensors are left out. The tensors must outlive it.
struct Kinds {
  explicit Kinds(std::span<const gguf::TensorInfo> all_tensors);

  std::span<const gguf::TensorInfo> tensors;  ///< all of them, as given
  std::vector<int64_t> layers;                ///< their numbers, ascending
  std::vector<Kind> kinds;                    ///< by name
};

struct Rule {
  enum class Place { kLayers, kAllLayers, kOutside, kBase };

  Place place;
  formats::Type type;
  std::vector<size_t> kinds;    ///< positions in Kinds::kinds
  LayerBits layers;             ///< of kLayers
  std::vector<size_t> tensors;  ///< that it decides: positions in Kinds::tensors
};

struct Rules {
  std::vector<Rule> rules;  ///< kLayers before the others, the base last; empty for a model without quantizable tensors
  std::vector<formats::Type> defaults;  ///< one per kind: what general rule or base say
};

/// The rules for these types, one per tensor of Kinds::tensors (those of protected tensors are not looked at).
Rules make_rules(const Kinds& kinds, const std::vector<formats::Type>& types);

}  // namespace steelyard::search
