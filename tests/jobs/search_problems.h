// Made-up sensitivities for the tensors of a model, and what a plan that was chosen from them needs.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/random.h"
#include "gguf/block_name.h"
#include "gguf/reader.h"
#include "jobs/search.h"
#include "jobs/search_budget.h"
#include "plan/protection.h"
#include "plan/resolve.h"
#include "search/models.h"

namespace steelyard::jobs {

inline double bits_of(formats::Type type) {
  const formats::Format& format = formats::format(type);
  return 8.0 * format.block_bytes / format.block_len;
}

/// The default candidates, from few bits to many.
inline std::vector<formats::Type> default_types() {
  std::vector<formats::Type> types;
  std::istringstream names(SearchOptions().types);
  for (std::string name; std::getline(names, name, ',');) types.push_back(formats::find_format(name)->type);
  std::ranges::sort(types, {}, bits_of);
  return types;
}

/// What every tensor that plans decide about loses: more than nothing, by a factor of about four less per bit, with
/// random factors. Kinds of tensors differ, and two of three have jumps.
inline std::vector<search::TensorDamage> made_up_damages(std::span<const gguf::TensorInfo> tensors, uint64_t seed) {
  Random random(seed);
  std::vector<search::TensorDamage> damages;
  for (const gguf::TensorInfo& tensor : tensors) {
    if (plan::protection(tensor)) continue;
    const auto block = gguf::block_name(tensor.name);
    const uint64_t kind = std::hash<std::string>()(block ? tensor.name.substr(block->end) : tensor.name);
    const double of_layer = block ? 1 + 4 * std::exp(-static_cast<double>(block->block) / 4) : 1;
    double smooth = std::exp(3 * Random(kind).uniform()) * of_layer * (0.5 + random.uniform()) *
                    std::sqrt(static_cast<double>(tensor.n_elements())) * 1e-7;
    double jumps = kind % 3 == 0 ? 0 : std::pow(smooth * random.uniform(), 2) * 10;
    double bits = 0;
    search::TensorDamage& damage = damages.emplace_back(search::TensorDamage{tensor.name, {}});
    for (const formats::Type wanted : default_types()) {
      const formats::Type type = plan::storable(wanted, tensor);
      const uint64_t bytes = gguf::tensor_bytes(formats::format(type), tensor.ne).value();
      if (!damage.types.empty() && bytes <= damage.types.back().bytes) continue;  // the same fallback
      const double factor = std::exp2(-2 * (bits_of(type) - bits)) * (0.8 + 0.2 * random.uniform());
      smooth *= factor;
      jumps *= factor;
      bits = bits_of(type);
      damage.types.push_back({type, bytes, smooth, jumps});
    }
  }
  return damages;
}

inline ChoiceProblem made_up_problem(const gguf::Reader& source, uint64_t seed, const search::Types& fixed = {}) {
  ChoiceProblem problem{.tensors = source.tensors(), .damages = {}, .measured = {}, .ties = {}};
  problem.measured = made_up_damages(source.tensors(), seed);
  problem.damages = search::with_all_tensors(source.tensors(), problem.measured, fixed, {});
  return problem;
}

/// Every tensor in its smallest or its largest type.
inline search::Types extreme_types(const ChoiceProblem& problem, bool largest) {
  search::Types types;
  for (const search::TensorDamage& tensor : problem.damages)
    types[tensor.tensor] = (largest ? std::ranges::max(tensor.types, {}, &search::Damage::bytes)
                                    : std::ranges::min(tensor.types, {}, &search::Damage::bytes))
                               .type;
  return types;
}

/// A plan's text as quantize would read it.
inline plan::Resolution resolve_text(const gguf::Reader& source, const std::string& text) {
  return plan::resolve(plan::Plan::parse(text, "found"), source.tensors(),
                       plan::model_facts(source.metadata(), /*has_imatrix=*/false));
}

inline uint64_t bytes_in(const gguf::Reader& source, const search::Types& types) {
  uint64_t sum = 0;
  for (const gguf::TensorInfo& tensor : source.tensors())
    sum += gguf::tensor_bytes(formats::format(types.at(tensor.name)), tensor.ne).value();
  return sum;
}

}  // namespace steelyard::jobs
