// A choice of types as the text of a plan that people can read and edit. Grammar: docs/plan.md.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"

namespace steelyard::search {

/// Type by tensor name: what a plan shall ask for.
using Types = std::map<std::string, formats::Type>;

/// What the comments of a plan say beyond counts and sizes.
struct PlanNotes {
  std::string head;                      ///< lines at the top, without '#'; may be empty
  std::map<std::string, double> losses;  ///< by tensor, in nats per position: a rule's comment has their sum
  /// More words about a rule, by the names of the tensors that it decides. None: no words.
  std::function<std::string(const std::vector<std::string>& tensors)> comment;
};

/// What every tensor gets, in the order of `tensors`: the storable type of what `types` asks for, and its source type
/// where it is protected or `types` does not name it. A name that is no tensor is our own fault.
std::vector<formats::Type> stored_types(std::span<const gguf::TensorInfo> tensors, const Types& types);

/// A plan under which every tensor gets exactly these types; that is checked. Rules that decide more bytes come first
/// as far as the order allows, and the base is the last line. Fallbacks are written as what they give, so that the plan
/// reports none.
std::string plan_text(std::span<const gguf::TensorInfo> tensors, const Types& types, const PlanNotes& notes = {});

}  // namespace steelyard::search
