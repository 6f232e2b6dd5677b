#include "search/rules.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "gguf/block_name.h"
#include "plan/protection.h"

namespace steelyard::search {
namespace {

using formats::Type;
using Counts = std::map<Type, size_t>;

// The type with the highest count; `preferred` among equals, else the lowest number.
Type commonest(const Counts& counts, Type preferred) {
  return std::max_element(counts.begin(), counts.end(),
                          [&](const auto& a, const auto& b) {
                            return std::pair(a.second, a.first == preferred) <
                                   std::pair(b.second, b.first == preferred);
                          })
      ->first;
}

// A rule for sets of layers, and which layers each of its kinds needs to have in it.
struct Band {
  Rule rule;
  std::vector<LayerBits> wanted;  // one per kind of the rule

  // Whether the rule may take a kind that wants `layers`. The layers of one kind must not have another kind's tensors
  // of another type. Where a kind has no tensor, the set does not matter to it.
  bool accepts(const Kinds& all, const LayerBits& layers, const LayerBits& present) const {
    const LayerBits grown = rule.layers | layers;
    if (!((grown & present) == layers)) return false;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!((grown & all.kinds[rule.kinds[i]].present) == wanted[i])) return false;
    }
    return true;
  }
};

}  // namespace

LayerBits LayerBits::operator|(const LayerBits& other) const {
  LayerBits result = *this;
  for (size_t i = 0; i < words_.size(); ++i) result.words_[i] |= other.words_[i];
  return result;
}

LayerBits LayerBits::operator&(const LayerBits& other) const {
  LayerBits result = *this;
  for (size_t i = 0; i < words_.size(); ++i) result.words_[i] &= other.words_[i];
  return result;
}

Kinds::Kinds(std::span<const gguf::TensorInfo> all_tensors) : tensors(all_tensors) {
  std::map<std::pair<bool, std::string>, std::map<int64_t, size_t>> found;
  std::set<int64_t> numbers;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string& name = tensors[i].name;
    if (plan::protection(tensors[i])) continue;
    const auto block = gguf::block_name(name);
    // A set of layers finds "blk.7.", not "blk.07.".
    if (block && name.starts_with("blk." + std::to_string(block->block) + ".")) {
      found[{true, name.substr(block->end + 1)}][block->block] = i;
      numbers.insert(block->block);
    } else {
      found[{false, name}][0] = i;
    }
  }
  layers.assign(numbers.begin(), numbers.end());
  for (const auto& [key, members] : found) {
    Kind& kind = kinds.emplace_back(Kind{
        .name = key.second, .in_layers = key.first, .tensors = {}, .layers = {}, .present = LayerBits(layers.size())});
    for (const auto& [number, tensor] : members) {
      kind.tensors.push_back(tensor);
      if (!kind.in_layers) continue;
      const auto at = std::lower_bound(layers.begin(), layers.end(), number) - layers.begin();
      kind.layers.push_back(static_cast<size_t>(at));
      kind.present.set(static_cast<size_t>(at));
    }
  }
}

Rules make_rules(const Kinds& all, const std::vector<Type>& types) {
  Rules result;
  if (all.kinds.empty()) return result;

  std::vector<Counts> counts(all.kinds.size());
  Counts total;
  for (size_t k = 0; k < all.kinds.size(); ++k) {
    for (const size_t tensor : all.kinds[k].tensors) {
      ++counts[k][types[tensor]];
      ++total[types[tensor]];
    }
  }
  const Type favourite = commonest(total, total.begin()->first);
  Counts by_default;  // tensors that the general rules would decide
  for (const Counts& count : counts) {
    const Type type = commonest(count, favourite);
    result.defaults.push_back(type);
    by_default[type] += count.at(type);
  }
  const Type base = commonest(by_default, favourite);

  std::vector<Band> bands;
  std::map<std::pair<bool, Type>, Rule> general;
  Rule rest{Rule::Place::kBase, base, {}, {}, {}};
  for (size_t k = 0; k < all.kinds.size(); ++k) {
    const Kind& kind = all.kinds[k];
    std::map<Type, std::pair<LayerBits, std::vector<size_t>>> special;
    const Type usual = result.defaults[k];
    const auto place = kind.in_layers ? Rule::Place::kAllLayers : Rule::Place::kOutside;
    Rule& other = usual == base
                      ? rest
                      : general.try_emplace({kind.in_layers, usual}, Rule{place, usual, {}, {}, {}}).first->second;
    other.kinds.push_back(k);
    for (size_t i = 0; i < kind.tensors.size(); ++i) {
      const Type type = types[kind.tensors[i]];
      if (type == usual) {
        other.tensors.push_back(kind.tensors[i]);
        continue;
      }
      auto& [layers, tensors] =
          special.try_emplace(type, LayerBits(all.layers.size()), std::vector<size_t>()).first->second;
      layers.set(kind.layers[i]);
      tensors.push_back(kind.tensors[i]);
    }
    for (const auto& entry : special) {
      const auto type = entry.first;
      const LayerBits& layers = entry.second.first;
      const std::vector<size_t>& tensors = entry.second.second;
      auto band = std::find_if(bands.begin(), bands.end(), [&](const Band& candidate) {
        return candidate.rule.type == type && candidate.accepts(all, layers, kind.present);
      });
      if (band == bands.end()) {
        bands.push_back({Rule{Rule::Place::kLayers, type, {}, LayerBits(all.layers.size()), {}}, {}});
        band = bands.end() - 1;
      }
      band->rule.layers = band->rule.layers | layers;
      band->rule.kinds.push_back(k);
      band->rule.tensors.insert(band->rule.tensors.end(), tensors.begin(), tensors.end());
      band->wanted.push_back(layers);
    }
  }
  for (Band& band : bands) result.rules.push_back(std::move(band.rule));
  for (auto& [key, rule] : general) result.rules.push_back(std::move(rule));
  result.rules.push_back(std::move(rest));
  return result;
}

}  // namespace steelyard::search
