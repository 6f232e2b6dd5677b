#include "search/loss_model.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "search/allocation.h"
#include "search/simplify.h"

namespace steelyard::search {
namespace {

size_t part_of(const std::string& tensor, const ChoiceLimits& limits) {
  const auto found = limits.parts.find(tensor);
  return found == limits.parts.end() ? 0 : found->second;
}

// One more tensor in a group: what is left are the types that all have.
void join(Group& group, const std::string& tensor, const std::vector<Candidate>& own) {
  std::vector<Candidate> common;
  for (const Candidate& candidate : group.candidates) {
    const auto same = std::ranges::find(own, candidate.type, &Candidate::type);
    if (same != own.end())
      common.push_back({candidate.type, candidate.bytes + same->bytes, candidate.loss + same->loss});
  }
  if (common.empty())
    fail("", "{} and {} are tied and have no type in common", printable(group.tensors.front()), printable(tensor));
  group.tensors.push_back(tensor);
  group.candidates = std::move(common);
}

}  // namespace

const Damage* damage_in(const TensorDamage& tensor, const Types& types) {
  const auto type = types.find(tensor.tensor);
  if (type == types.end()) return nullptr;
  const auto found = std::ranges::find(tensor.types, type->second, &Damage::type);
  return found == tensor.types.end() ? nullptr : &*found;
}

std::map<std::string, double> losses(std::span<const TensorDamage> damages, const Types& types) {
  double jumps = 0;
  for (const TensorDamage& tensor : damages) {
    if (const Damage* const damage = damage_in(tensor, types)) jumps += damage->jumps;
  }
  jumps = std::sqrt(jumps);
  std::map<std::string, double> parts;
  for (const TensorDamage& tensor : damages) {
    if (const Damage* const damage = damage_in(tensor, types))
      parts[tensor.tensor] = damage->smooth + (jumps > 0 ? damage->jumps / jumps : 0);
  }
  return parts;
}

Divergence divergence(std::span<const TensorDamage> damages, const Types& types) {
  Divergence sum;
  for (const TensorDamage& tensor : damages) {
    const Damage* const damage = damage_in(tensor, types);
    STEELYARD_CHECK(damage != nullptr);
    sum.smooth += damage->smooth;
    sum.jumps += damage->jumps;
  }
  sum.jumps = std::sqrt(sum.jumps);
  return sum;
}

std::vector<TensorDamage> with_all_tensors(std::span<const gguf::TensorInfo> tensors,
                                           std::span<const TensorDamage> damages, const Types& fixed,
                                           const Types& others) {
  std::map<std::string_view, const TensorDamage*> known;
  for (const TensorDamage& damage : damages) known[damage.tensor] = &damage;
  std::vector<TensorDamage> all;
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto found = known.find(tensor.name);
    const auto is_fixed = fixed.find(tensor.name);
    if (found != known.end() && is_fixed == fixed.end()) {
      all.push_back(*found->second);
      continue;
    }
    const auto other = others.find(tensor.name);
    Damage only{.type = is_fixed != fixed.end() ? is_fixed->second
                        : other != others.end() ? other->second
                                                : tensor.type};
    only.bytes = gguf::tensor_bytes(format(only.type), tensor.ne).value_or(0);
    if (found != known.end()) {
      const auto same = std::ranges::find(found->second->types, only.type, &Damage::type);
      if (same != found->second->types.end()) only = *same;
    }
    all.push_back({tensor.name, {only}});
  }
  return all;
}

std::vector<Group> tangent_groups(std::span<const TensorDamage> damages, std::span<const std::vector<std::string>> ties,
                                  double jumps) {
  const double slope = jumps > 0 ? 0.5 / jumps : 0;
  std::map<std::string_view, size_t> tie_of;
  for (size_t t = 0; t < ties.size(); ++t) {
    for (const std::string& tensor : ties[t]) tie_of[tensor] = t;
  }
  std::vector<Group> groups;
  std::map<size_t, size_t> group_of;  // tie to group
  for (const TensorDamage& tensor : damages) {
    std::vector<Candidate> own;
    for (const Damage& damage : tensor.types)
      own.push_back({damage.type, damage.bytes, damage.smooth + slope * damage.jumps});
    const auto tie = tie_of.find(tensor.tensor);
    if (tie != tie_of.end()) {
      const auto [group, is_first] = group_of.emplace(tie->second, groups.size());
      if (!is_first) {
        join(groups[group->second], tensor.tensor, own);
        continue;
      }
    }
    groups.push_back({{tensor.tensor}, std::move(own)});
  }
  return groups;
}

// The root is concave, so its tangent at a choice bounds it from above: each step of the loop is at least as good as
// the one before where `choose` is exact, and it ends where none is better.
Types follow_tangents(std::span<const TensorDamage> damages, std::span<const std::vector<std::string>> ties,
                      double jumps, int most_steps, const std::function<Types(std::span<const Group>)>& choose) {
  Types best;
  double least = INFINITY;
  for (int step = 0; step < most_steps; ++step) {
    Types types = choose(tangent_groups(damages, ties, jumps));
    const Divergence now = divergence(damages, types);
    if (!(now.sum() < least)) break;
    least = now.sum();
    jumps = now.jumps;
    best = std::move(types);
  }
  return best;
}

Types allocate_types(std::span<const TensorDamage> damages, const ChoiceLimits& limits) {
  constexpr int kMostSteps = 20;
  double jumps = 0;
  for (const TensorDamage& tensor : damages) jumps += std::ranges::max(tensor.types, {}, &Damage::jumps).jumps;
  return follow_tangents(damages, limits.ties, std::sqrt(jumps), kMostSteps, [&](std::span<const Group> groups) {
    std::vector<std::vector<Group>> parts(limits.budgets.size());
    for (const Group& group : groups) {
      const size_t part = part_of(group.tensors.front(), limits);
      for (const std::string& tensor : group.tensors) STEELYARD_CHECK(part_of(tensor, limits) == part);
      parts.at(part).push_back(group);
    }
    Types types;
    for (size_t part = 0; part < parts.size(); ++part)
      types.merge(types_of(parts[part], allocate(parts[part], limits.budgets[part]).chosen));
    return types;
  });
}

}  // namespace steelyard::search
