// When a rule of a plan is active: `if imatrix and gqa >= 4` is a conjunction of tests of the run and the model, and
// `index in {:1/8}`, `place in {:1/8}` and `nextn` are tests of the tensor. Parsed with its rule, evaluated by
// resolve(). Grammar: docs/plan.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "plan/layer_set.h"

namespace steelyard::plan {

/// What conditions can test, beyond the tensors themselves.
struct Facts {
  bool imatrix = false;  ///< an importance matrix is given
  int64_t gqa = 0;       ///< query heads per key-value head in the first layer; 0 without attention there
  int64_t experts = 0;   ///< routed experts per layer; 0 for a dense model
  bool tied = false;     ///< no output.weight: the embedding does its work. resolve() finds this out itself.
};

/// The facts in a model's metadata. Error naming a key with an unexpected type.
Facts model_facts(const gguf::Metadata& metadata, bool imatrix);

class Condition {
 public:
  /// The condition that is always true.
  Condition() = default;

  /// Parses what follows the word `if`. Error{where} names the wrong test.
  static Condition parse(std::string_view text, const std::string& where);

  /// Whether all tests of run and model are true.
  bool holds(const Facts& facts) const;

  /// Which of the tensors that the rule's pattern matches it takes, by their index among them; none: all of them.
  const std::optional<LayerSet>& index() const { return index_; }
  /// Whether fractions in index() are of the number of these tensors (`place`), and not of layers (`index`).
  bool is_place() const { return is_place_; }

  /// Which tensors it takes: of the blocks that predict further tokens, or of all others; none: both.
  const std::optional<bool>& predicting() const { return predicting_; }

  /// "imatrix and gqa >= 4", which parse() reads back; empty for the condition that is always true.
  std::string text() const;

  auto operator<=>(const Condition& other) const { return terms_ <=> other.terms_; }
  bool operator==(const Condition& other) const { return terms_ == other.terms_; }

 private:
  struct Question {
    int64_t (*fact)(const Facts&);
    bool (*compare)(int64_t, int64_t);
    int64_t number;
  };

  void add(const std::string& term, const std::string& where);

  std::vector<std::string> terms_;  // as written, but for blanks: two conditions are equal when these are
  std::vector<Question> questions_;
  std::optional<LayerSet> index_;
  bool is_place_ = false;
  std::optional<bool> predicting_;
};

}  // namespace steelyard::plan
