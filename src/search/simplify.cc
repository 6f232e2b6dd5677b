#include "search/simplify.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/text_hash.h"
#include "plan/resolve.h"
#include "search/rules.h"

namespace steelyard::search {
namespace {

using formats::Type;
using Place = Rule::Place;

constexpr size_t kNone = static_cast<size_t>(-1);

// Another candidate for some groups, and what that changes.
struct Move {
  std::map<size_t, size_t> choices;  // group to candidate
  int64_t bytes = 0;
  double loss = 0;
  double cost = 0;  // loss + lambda * bytes
};

// The rules of a choice as groups of their own.
struct RuleGroups {
  std::vector<Group> groups;
  std::vector<std::vector<Move>> moves;  // one per candidate; an empty one leaves all as it is
  uint64_t least = 0;                    // bytes of the smallest candidates
};

class Simplifier {
 public:
  Simplifier(std::span<const gguf::TensorInfo> tensors, std::span<const Group> groups, const Allocation& start,
             uint64_t budget);

  Allocation run(size_t max_rules);

 private:
  Rules rules() const { return make_rules(kinds_, types_); }
  void apply(const Move& move);
  size_t count_after(const Move& move);
  bool fits_after(const Move& move);
  std::optional<Move> move_to(const std::map<size_t, Type>& wanted) const;
  std::vector<Move> merges(const Rules& rules) const;
  bool merge();
  RuleGroups rule_groups() const;
  void allocate_rules();
  std::vector<Move> toggles(const Rules& rules) const;
  void fill(size_t max_rules);
  Allocation state() const { return weigh(groups_, chosen_, lambda_); }

  std::span<const gguf::TensorInfo> tensors_;
  std::span<const Group> groups_;
  uint64_t budget_;
  double lambda_;
  Kinds kinds_;
  std::vector<size_t> group_of_;                 // one per tensor; kNone: it is in no group
  std::vector<std::vector<size_t>> tensors_of_;  // one per group
  std::vector<size_t> chosen_;
  std::vector<Type> types_;  // one per tensor
};

Simplifier::Simplifier(std::span<const gguf::TensorInfo> tensors, std::span<const Group> groups,
                       const Allocation& start, uint64_t budget)
    : tensors_(tensors),
      groups_(groups),
      budget_(budget),
      lambda_(start.lambda),
      kinds_(tensors),
      group_of_(tensors.size(), kNone),
      tensors_of_(groups.size()),
      chosen_(start.chosen),
      types_(stored_types(tensors, types_of(groups, start.chosen))) {
  std::unordered_map<std::string_view, size_t, TextHash> places;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const std::string& name : groups[g].tensors) places[name] = g;
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto found = places.find(tensors[i].name);
    if (found == places.end()) continue;
    group_of_[i] = found->second;
    tensors_of_[found->second].push_back(i);
  }
}

void Simplifier::apply(const Move& move) {
  for (const auto& [group, choice] : move.choices) {
    chosen_[group] = choice;
    for (const size_t i : tensors_of_[group]) {
      types_[i] = plan::storable(groups_[group].candidates[choice].type, tensors_[i]);
    }
  }
}

size_t Simplifier::count_after(const Move& move) {
  const std::vector<Type> types = types_;
  const std::vector<size_t> chosen = chosen_;
  apply(move);
  const size_t count = rules().rules.size();
  types_ = types;
  chosen_ = chosen;
  return count;
}

// The groups of these tensors to these types; nothing where one of them has no such candidate, where a group would need
// two, or where nothing changes.
std::optional<Move> Simplifier::move_to(const std::map<size_t, Type>& wanted) const {
  Move move;
  for (const auto& [tensor, type] : wanted) {
    const size_t g = group_of_[tensor];
    if (types_[tensor] == type) continue;
    if (g == kNone) return std::nullopt;
    const std::vector<Candidate>& candidates = groups_[g].candidates;
    size_t best = kNone;
    for (size_t c = 0; c < candidates.size(); ++c) {
      const bool is_better = best == kNone || std::pair(candidates[c].loss, candidates[c].bytes) <
                                                  std::pair(candidates[best].loss, candidates[best].bytes);
      if (candidates[c].type == type && is_better) best = c;
    }
    if (best == kNone) return std::nullopt;
    const auto [place, is_new] = move.choices.emplace(g, best);
    if (!is_new && place->second != best) return std::nullopt;
    if (!is_new) continue;
    const Candidate& now = candidates[chosen_[g]];
    move.bytes += static_cast<int64_t>(candidates[best].bytes) - static_cast<int64_t>(now.bytes);
    move.loss += candidates[best].loss - now.loss;
  }
  if (move.choices.empty()) return std::nullopt;
  move.cost = move.loss + lambda_ * static_cast<double>(move.bytes);
  return move;
}

// Everything that may make a rule superfluous, the cheapest first: the whole of a rule, or one kind of it, to another
// type; a rule for some layers to what its kinds have elsewhere; the kinds of one rule to the layers of another one.
std::vector<Move> Simplifier::merges(const Rules& rules) const {
  std::vector<Move> moves;
  const auto add = [&](const std::map<size_t, Type>& wanted) {
    if (auto move = move_to(wanted)) moves.push_back(std::move(*move));
  };
  std::vector<size_t> kind_of(tensors_.size(), kNone);
  for (size_t k = 0; k < kinds_.kinds.size(); ++k) {
    for (const size_t i : kinds_.kinds[k].tensors) kind_of[i] = k;
  }
  std::set<Type> used;
  for (const Rule& rule : rules.rules) used.insert(rule.type);
  for (const Rule& rule : rules.rules) {
    std::map<size_t, Type> usual;
    std::map<size_t, std::vector<size_t>> parts;
    for (const size_t i : rule.tensors) {
      usual[i] = rules.defaults[kind_of[i]];
      parts[kind_of[i]].push_back(i);
    }
    if (rule.place == Place::kLayers) add(usual);
    // What the rule's tensors could be stored in, whether the plan has the type by now or not.
    std::set<Type> targets = used;
    if (const size_t g = group_of_[rule.tensors.front()]; g != kNone) {
      for (const Candidate& candidate : groups_[g].candidates) targets.insert(candidate.type);
    }
    for (const Type type : targets) {
      std::map<size_t, Type> whole;
      for (const size_t i : rule.tensors) whole[i] = type;
      add(whole);
      if (parts.size() == 1) continue;
      for (const auto& [kind, members] : parts) {
        std::map<size_t, Type> part;
        for (const size_t i : members) part[i] = type;
        add(part);
      }
    }
    if (rule.place != Place::kLayers) continue;
    for (const Rule& other : rules.rules) {
      if (&other == &rule || other.place != Place::kLayers || other.type != rule.type) continue;
      std::map<size_t, Type> aligned;
      for (const size_t k : rule.kinds) {
        const Kind& kind = kinds_.kinds[k];
        for (size_t i = 0; i < kind.tensors.size(); ++i) {
          if (other.layers.test(kind.layers[i])) {
            aligned[kind.tensors[i]] = rule.type;
          } else if (rule.layers.test(kind.layers[i])) {
            aligned[kind.tensors[i]] = rules.defaults[k];
          }
        }
      }
      add(aligned);
    }
  }
  std::stable_sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.cost < b.cost; });
  return moves;
}

// Whether the rules of then have types within the budget.
bool Simplifier::fits_after(const Move& move) {
  const std::vector<Type> types = types_;
  const std::vector<size_t> chosen = chosen_;
  apply(move);
  const bool fits = rule_groups().least <= budget_;
  types_ = types;
  chosen_ = chosen;
  return fits;
}

// Applies the cheapest move that saves a rule. The result may exceed the budget, but its rules have smaller types.
bool Simplifier::merge() {
  const Rules before = rules();
  for (const Move& move : merges(before)) {
    if (count_after(move) >= before.rules.size() || !fits_after(move)) continue;
    apply(move);
    return true;
  }
  return false;
}

// Each rule becomes one group, whose candidates are the types that all of its groups have.
RuleGroups Simplifier::rule_groups() const {
  // Groups that span several rules tie these together.
  const Rules now = rules();
  std::vector<size_t> root(groups_.size());
  std::iota(root.begin(), root.end(), size_t{0});
  const auto find = [&](size_t g) {
    while (root[g] != g) g = root[g] = root[root[g]];
    return g;
  };
  for (const Rule& rule : now.rules) {
    size_t first = kNone;
    for (const size_t i : rule.tensors) {
      const size_t g = group_of_[i];
      if (g == kNone) continue;
      if (first == kNone) first = g;
      root[find(g)] = find(first);
    }
  }
  std::map<size_t, std::vector<size_t>> members;
  for (size_t g = 0; g < groups_.size(); ++g) members[find(g)].push_back(g);

  RuleGroups merged;
  for (const auto& [first, ids] : members) {
    Group& group = merged.groups.emplace_back();
    std::vector<Move>& options = merged.moves.emplace_back();
    Candidate present{groups_[first].candidates[chosen_[first]].type};
    std::map<size_t, Type> all;
    for (const size_t g : ids) {
      group.tensors.insert(group.tensors.end(), groups_[g].tensors.begin(), groups_[g].tensors.end());
      present.bytes += groups_[g].candidates[chosen_[g]].bytes;
      present.loss += groups_[g].candidates[chosen_[g]].loss;
    }
    group.candidates.push_back(present);
    options.emplace_back();
    for (const Candidate& candidate : groups_[first].candidates) {
      for (const size_t g : ids) {
        for (const size_t i : tensors_of_[g]) all[i] = candidate.type;
      }
      auto move = move_to(all);
      if (!move) continue;
      group.candidates.push_back(
          {candidate.type, present.bytes + static_cast<uint64_t>(move->bytes), present.loss + move->loss});
      options.push_back(std::move(*move));
    }
    merged.least += group.candidates[undominated(group.candidates).front()].bytes;
  }
  return merged;
}

// The budget anew, to whole rules.
void Simplifier::allocate_rules() {
  const RuleGroups merged = rule_groups();
  const Allocation allocation = allocate(merged.groups, budget_);
  for (size_t i = 0; i < merged.groups.size(); ++i) apply(merged.moves[i][allocation.chosen[i]]);
}

// A layer into or out of a rule's set, for all of its kinds.
std::vector<Move> Simplifier::toggles(const Rules& rules) const {
  std::vector<Move> moves;
  for (const Rule& rule : rules.rules) {
    if (rule.place != Place::kLayers) continue;
    std::map<size_t, std::map<size_t, Type>> by_layer;
    for (const size_t k : rule.kinds) {
      const Kind& kind = kinds_.kinds[k];
      for (size_t i = 0; i < kind.tensors.size(); ++i) {
        const bool is_in = rule.layers.test(kind.layers[i]);
        by_layer[kind.layers[i]][kind.tensors[i]] = is_in ? rules.defaults[k] : rule.type;
      }
    }
    for (const auto& [layer, wanted] : by_layer) {
      if (auto move = move_to(wanted)) moves.push_back(std::move(*move));
    }
  }
  return moves;
}

// Single layers that gain something and fit, those that gain most per byte first. No rule is added beyond `max_rules`.
void Simplifier::fill(size_t max_rules) {
  for (bool grew = true; grew;) {
    grew = false;
    const auto left = static_cast<int64_t>(budget_ - state().bytes);
    std::vector<Move> moves = toggles(rules());
    std::erase_if(moves, [&](const Move& move) { return move.bytes > left || move.loss >= 0; });
    const auto gain = [](const Move& move) {
      return -move.loss / static_cast<double>(std::max<int64_t>(1, move.bytes));
    };
    std::stable_sort(moves.begin(), moves.end(), [&](const Move& a, const Move& b) { return gain(a) > gain(b); });
    for (const Move& move : moves) {
      if (count_after(move) > max_rules) continue;
      apply(move);
      grew = true;
      break;
    }
  }
}

Allocation Simplifier::run(size_t max_rules) {
  if (state().bytes > budget_) fail("", "the choice to simplify takes {} bytes, more than {}", state().bytes, budget_);
  if (rules().rules.size() <= max_rules) return state();
  // Types of whole rules may come out such that they need more rules than before. Then one fewer is tried.
  std::optional<Allocation> best;
  for (size_t target = max_rules; target > 0; --target) {
    while (rules().rules.size() > target) {
      if (!merge()) break;
    }
    if (rules().rules.size() > target) break;
    const std::vector<size_t> chosen = chosen_;
    const std::vector<Type> types = types_;
    allocate_rules();
    if (rules().rules.size() <= max_rules) {
      fill(max_rules);
      const Allocation found = state();
      if (!best || found.loss < best->loss) best = found;
      // A coarser plan rarely is the better one; two more are tried.
      if (target + 2 <= max_rules) break;
    }
    chosen_ = chosen;
    types_ = types;
  }
  if (!best) fail("", "no plan of at most {} rules was found that fits {} bytes", max_rules, budget_);
  return *best;
}

}  // namespace

Types types_of(std::span<const Group> groups, std::span<const size_t> chosen) {
  STEELYARD_CHECK(groups.size() == chosen.size());
  Types types;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const std::string& name : groups[i].tensors) types[name] = groups[i].candidates.at(chosen[i]).type;
  }
  return types;
}

std::map<std::string, double> losses_of(std::span<const Group> groups, std::span<const size_t> chosen) {
  STEELYARD_CHECK(groups.size() == chosen.size());
  std::map<std::string, double> losses;
  for (size_t i = 0; i < groups.size(); ++i) {
    const double loss = groups[i].candidates.at(chosen[i]).loss;
    for (const std::string& name : groups[i].tensors)
      losses[name] = loss / static_cast<double>(groups[i].tensors.size());
  }
  return losses;
}

size_t count_rules(std::span<const gguf::TensorInfo> tensors, const Types& types) {
  return std::max<size_t>(1, make_rules(Kinds(tensors), stored_types(tensors, types)).rules.size());
}

Allocation simplify(std::span<const gguf::TensorInfo> tensors, std::span<const Group> groups, const Allocation& start,
                    uint64_t budget_bytes, size_t max_rules) {
  if (max_rules == 0) fail("", "a plan needs at least one rule");
  const Allocation simple = Simplifier(tensors, groups, start, budget_bytes).run(max_rules);
  STEELYARD_CHECK(simple.bytes <= budget_bytes);
  STEELYARD_CHECK(count_rules(tensors, types_of(groups, simple.chosen)) <= max_rules);
  return simple;
}

}  // namespace steelyard::search
