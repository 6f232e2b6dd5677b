// A set of layers written in a plan, such as `{0-4,46}` or `{:1/8, 7/8:}`. Its bounds may depend on the number of
// layers of a model. The set itself does not belong to a model. Used by Pattern. Grammar: docs/plan.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard::plan {

class LayerSet {
 public:
  /// Parses the text between the braces. Error{where} says which term is wrong.
  static LayerSet parse(std::string_view text, const std::string& where);

  /// Whether `layer` (0-based) belongs to the set in a model of `n_layers` layers.
  bool contains(int64_t layer, int64_t n_layers) const;

 private:
  // floor(n_layers * numerator / denominator) + offset. A plain number has numerator 0; one counted from the end
  // ("-4") has numerator and denominator 1.
  struct Bound {
    int64_t numerator = 0;
    int64_t denominator = 1;
    int64_t offset = 0;
    int64_t at(int64_t n_layers) const { return n_layers * numerator / denominator + offset; }
  };
  // Every step-th layer from begin up to, not including, end.
  struct Slice {
    Bound begin;
    Bound end;
    int64_t step = 1;
  };

  static Bound parse_bound(std::string_view text, Bound absent, const std::string& where);
  static Slice parse_term(std::string_view term, const std::string& where);

  std::vector<Slice> slices_;
};

}  // namespace steelyard::plan
