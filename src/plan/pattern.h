// The left side of a plan's rule: a regular expression (RE2, searched, case-sensitive) in which `blk.{...}` stands for
// the layers of a LayerSet. Parsed once with the plan, compiled once per model.
#pragma once

#include <re2/re2.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plan/layer_set.h"

namespace steelyard::plan {

/// The layers of a model, derived from its tensor names.
struct Layers {
  std::set<int64_t> present;  ///< every N of a name that starts with "blk.N."
  int64_t count = 0;          ///< one more than the highest of them

  /// Adds the layer of this tensor.
  void add(std::string_view tensor_name);
};

class Pattern {
 public:
  /// Error{where} when the text is empty, a layer set is wrong, or RE2 refuses the expression.
  Pattern(const std::string& text, const std::string& where);

  /// The regular expression for a model with these layers.
  std::string expression(const Layers& layers) const;
  /// The same compiled. Error{where} if it grows beyond what RE2 accepts.
  std::unique_ptr<RE2> compile(const Layers& layers) const;

 private:
  std::string where_;
  std::vector<std::string> pieces_;  // what stands around the sets: one more than there are sets
  std::vector<LayerSet> sets_;
};

}  // namespace steelyard::plan
