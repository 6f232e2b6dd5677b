// The relaxed problem, in which groups may lie between two candidates, is solved exactly: steps on the lower convex
// hulls are taken in the order of their gain per byte until one does not fit. Its gain per byte is lambda. From there
// on:
//
// - The reduced cost of a candidate is loss + lambda * bytes, above the least of its group. The losses of any choice
//   are the relaxed optimum + its reduced costs + lambda * the bytes that it leaves unused. So candidates whose reduced
//   cost exceeds the gap between the best choice known and the relaxed optimum are of no use (Dyer, Kayal and Walsh
//   1984). Few are left.
// - climb() takes single steps and pairs of steps while they gain something.
// - sweep() goes through the groups once and keeps the choices that may still win. It finds the optimum unless more
//   than kMaxStates of them are alive at once; then those of the highest reduced costs are dropped.
#include "search/allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "search/hull.h"

namespace steelyard::search {
namespace {

constexpr size_t kMaxStates = 512;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Sums of losses are compared with this relative tolerance, so that rounding cannot make climb() go in circles.
constexpr double kRounding = 1e-12;

struct Option {
  int64_t bytes;  // a budget is less than 2^63
  double loss;
  double reduced = 0;  // reduced cost
  size_t original;     // position in Group::candidates
};

// A group in the order of the problem: by the names of its tensors.
struct Item {
  size_t original;              // position in the groups given
  std::vector<Option> options;  // undominated, by bytes
};

class Problem {
 public:
  Problem(std::span<const Group> groups, uint64_t budget);

  void solve();
  std::vector<size_t> chosen() const;
  double lambda() const { return lambda_; }

 private:
  // One group changed from its present option to another one.
  struct Change {
    size_t item;
    size_t option;
    int64_t bytes;
    double loss;
  };
  // A choice for the first items of a sweep.
  struct State {
    int64_t bytes;
    double loss;
    double reduced;
    uint32_t parent;  // in the layer before
    uint32_t option;
  };

  void relax();
  void reduce();
  void climb();
  void sweep();
  std::vector<Change> changes() const;
  bool apply_best_step(const std::vector<Change>& all);
  bool apply_best_pair(std::vector<Change>& all);
  void apply(const Change& change);

  const Option& now(size_t item) const { return items_[item].options[choice_[item]]; }
  double total_loss() const;
  double gap() const { return total_loss() - bound_ + tolerance_; }

  std::vector<Item> items_;
  int64_t budget_;
  std::vector<size_t> choice_;  // option of each item
  int64_t left_ = 0;            // bytes of the budget that the choice does not use
  double lambda_ = 0;
  double bound_ = 0;      // the relaxed optimum: no choice loses less
  double tolerance_ = 0;  // in nats: what rounding may do to sums of losses
};

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

Problem::Problem(std::span<const Group> groups, uint64_t budget)
    : budget_(static_cast<int64_t>(std::min<uint64_t>(budget, std::numeric_limits<int64_t>::max()))) {
  std::vector<std::pair<std::vector<std::string>, size_t>> order;
  for (size_t i = 0; i < groups.size(); ++i) order.emplace_back(sorted(groups[i].tensors), i);
  std::sort(order.begin(), order.end());
  std::optional<uint64_t> least = 0, most = 0;
  double scale = 0;
  for (const auto& [names, original] : order) {
    const std::vector<Candidate>& candidates = groups[original].candidates;
    STEELYARD_CHECK(!candidates.empty());
    Item& item = items_.emplace_back(Item{.original = original});
    for (const Candidate& candidate : candidates) STEELYARD_CHECK(std::isfinite(candidate.loss));
    for (const size_t i : undominated(candidates)) {
      item.options.push_back({static_cast<int64_t>(candidates[i].bytes), candidates[i].loss, 0, i});
    }
    if (least) least = checked_add(*least, candidates[item.options.front().original].bytes);
    if (most) most = checked_add(*most, candidates[item.options.back().original].bytes);
    scale += std::max(std::abs(item.options.front().loss), std::abs(item.options.back().loss));
  }
  if (!most || *most > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    fail("", "the sizes of the tensors do not fit 63 bits");
  }
  if (*least > budget) fail("", "{} bytes are too few: these types need at least {} bytes", budget, *least);
  tolerance_ = kRounding * scale;
  choice_.assign(items_.size(), 0);
  left_ = budget_ - static_cast<int64_t>(*least);
}

double Problem::total_loss() const {
  double sum = 0;
  for (size_t i = 0; i < items_.size(); ++i) sum += now(i).loss;
  return sum;
}

// From the smallest options up the hulls, the steepest step first, until one does not fit.
void Problem::relax() {
  struct Step {
    double slope;  // loss saved per byte
    size_t item;
    size_t option;
  };
  std::vector<Step> steps;
  for (size_t i = 0; i < items_.size(); ++i) {
    std::vector<HullPoint> points;
    for (const Option& option : items_[i].options) points.push_back({option.bytes, option.loss});
    for (const HullStep& step : hull_steps(points)) steps.push_back({step.slope, i, step.to});
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.slope > b.slope; });
  for (const Step& step : steps) {
    const int64_t bytes = items_[step.item].options[step.option].bytes - now(step.item).bytes;
    if (bytes > left_) {
      lambda_ = step.slope;
      break;
    }
    left_ -= bytes;
    choice_[step.item] = step.option;
  }
  bound_ = total_loss() - lambda_ * static_cast<double>(left_);
}

// Reduced costs, and without the options that are too expensive to be in a better choice.
void Problem::reduce() {
  for (size_t i = 0; i < items_.size(); ++i) {
    std::vector<Option>& options = items_[i].options;
    double least = kInfinity;
    for (Option& option : options) {
      option.reduced = option.loss + lambda_ * static_cast<double>(option.bytes - options[0].bytes);
      least = std::min(least, option.reduced);
    }
    for (Option& option : options) option.reduced -= least;
  }
  const double limit = gap();
  for (size_t i = 0; i < items_.size(); ++i) {
    std::vector<Option> kept;
    size_t place = 0;
    for (size_t k = 0; k < items_[i].options.size(); ++k) {
      if (k == choice_[i]) place = kept.size();
      if (k == choice_[i] || items_[i].options[k].reduced <= limit) kept.push_back(items_[i].options[k]);
    }
    items_[i].options = std::move(kept);
    choice_[i] = place;
  }
}

std::vector<Problem::Change> Problem::changes() const {
  std::vector<Change> all;
  for (size_t i = 0; i < items_.size(); ++i) {
    for (size_t k = 0; k < items_[i].options.size(); ++k) {
      const Option& option = items_[i].options[k];
      if (k != choice_[i]) all.push_back({i, k, option.bytes - now(i).bytes, option.loss - now(i).loss});
    }
  }
  return all;
}

void Problem::apply(const Change& change) {
  left_ -= change.bytes;
  choice_[change.item] = change.option;
}

// The step up that gains most per byte among those that fit.
bool Problem::apply_best_step(const std::vector<Change>& all) {
  const Change* best = nullptr;
  for (const Change& change : all) {
    if (change.bytes > left_ || change.bytes <= 0 || change.loss >= -tolerance_) continue;
    // Cross-multiplied: gain per byte.
    if (best == nullptr ||
        change.loss * static_cast<double>(best->bytes) < best->loss * static_cast<double>(change.bytes)) {
      best = &change;
    }
  }
  if (best != nullptr) apply(*best);
  return best != nullptr;
}

// The two groups whose change together fits and gains most. Sorted by bytes, the partners that fit are a prefix, whose
// best change and whose best change of another group are enough to know.
bool Problem::apply_best_pair(std::vector<Change>& all) {
  std::sort(all.begin(), all.end(), [](const Change& a, const Change& b) {
    return std::tuple(a.bytes, a.loss, a.item, a.option) < std::tuple(b.bytes, b.loss, b.item, b.option);
  });
  struct Best {
    const Change* first = nullptr;
    const Change* other = nullptr;  // the best of the items other than first's
  };
  std::vector<Best> prefix(all.size() + 1);
  for (size_t i = 0; i < all.size(); ++i) {
    Best best = prefix[i];
    const Change* change = &all[i];
    if (best.first == nullptr || change->loss < best.first->loss) {
      if (best.first != nullptr && best.first->item != change->item) best.other = best.first;
      best.first = change;
    } else if (best.first->item != change->item && (best.other == nullptr || change->loss < best.other->loss)) {
      best.other = change;
    }
    prefix[i + 1] = best;
  }
  double least = -tolerance_;
  std::pair<const Change*, const Change*> pair = {nullptr, nullptr};
  for (const Change& change : all) {
    const auto end = std::upper_bound(all.begin(), all.end(), left_ - change.bytes,
                                      [](int64_t bytes, const Change& other) { return bytes < other.bytes; });
    const Best& best = prefix[static_cast<size_t>(end - all.begin())];
    const Change* partner = best.first != nullptr && best.first->item == change.item ? best.other : best.first;
    if (partner == nullptr || change.loss + partner->loss >= least) continue;
    least = change.loss + partner->loss;
    pair = {&change, partner};
  }
  if (pair.first == nullptr) return false;
  apply(*pair.first);
  apply(*pair.second);
  return true;
}

void Problem::climb() {
  for (;;) {
    std::vector<Change> all = changes();
    if (!apply_best_step(all) && !apply_best_pair(all)) return;
  }
}

void Problem::sweep() {
  // Bytes that the items from i on take at least and at most.
  std::vector<int64_t> least(items_.size() + 1, 0), most(items_.size() + 1, 0);
  for (size_t i = items_.size(); i-- > 0;) {
    least[i] = least[i + 1] + items_[i].options.front().bytes;
    most[i] = most[i + 1] + items_[i].options.back().bytes;
  }
  const double limit = gap();
  std::vector<std::vector<State>> layers = {{State{0, 0, 0, 0, 0}}};
  for (size_t i = 0; i < items_.size(); ++i) {
    std::vector<State> next;
    for (size_t s = 0; s < layers[i].size(); ++s) {
      const State& state = layers[i][s];
      for (size_t k = 0; k < items_[i].options.size(); ++k) {
        const Option& option = items_[i].options[k];
        const State grown{state.bytes + option.bytes, state.loss + option.loss, state.reduced + option.reduced,
                          static_cast<uint32_t>(s), static_cast<uint32_t>(k)};
        if (grown.bytes > budget_ - least[i + 1]) continue;
        const int64_t unused = std::max<int64_t>(0, budget_ - grown.bytes - most[i + 1]);
        if (grown.reduced + lambda_ * static_cast<double>(unused) <= limit) next.push_back(grown);
      }
    }
    const auto by_bytes = [](const State& a, const State& b) {
      return std::tuple(a.bytes, a.loss, a.parent, a.option) < std::tuple(b.bytes, b.loss, b.parent, b.option);
    };
    std::sort(next.begin(), next.end(), by_bytes);
    // A state that has both more bytes and no less loss than another one will never be the better one.
    double best = kInfinity;
    std::erase_if(next, [&](const State& state) { return state.loss >= best || (best = state.loss, false); });
    if (next.size() > kMaxStates) {
      std::sort(next.begin(), next.end(), [](const State& a, const State& b) {
        return std::tuple(a.reduced, a.bytes, a.parent, a.option) < std::tuple(b.reduced, b.bytes, b.parent, b.option);
      });
      next.resize(kMaxStates);
      std::sort(next.begin(), next.end(), by_bytes);
    }
    if (next.empty()) return;  // rounding took what there was; the choice stays
    layers.push_back(std::move(next));
  }
  // Without the dominated ones, the last state has the least loss.
  size_t at = layers.back().size() - 1;
  if (layers.back()[at].loss >= total_loss() - tolerance_) return;
  left_ = budget_ - layers.back()[at].bytes;
  for (size_t i = items_.size(); i-- > 0;) {
    choice_[i] = layers[i + 1][at].option;
    at = layers[i + 1][at].parent;
  }
}

void Problem::solve() {
  relax();
  if (lambda_ == 0) return;  // everything fits
  // Some steps first: the smaller the gap, the more options can go.
  while (apply_best_step(changes())) {
  }
  reduce();
  climb();
  reduce();
  sweep();
  climb();
}

std::vector<size_t> Problem::chosen() const {
  std::vector<size_t> chosen(items_.size());
  for (size_t i = 0; i < items_.size(); ++i) chosen[items_[i].original] = now(i).original;
  return chosen;
}

}  // namespace

Allocation allocate(std::span<const Group> groups, uint64_t budget_bytes) {
  Problem problem(groups, budget_bytes);
  problem.solve();
  Allocation allocation = weigh(groups, problem.chosen(), problem.lambda());
  STEELYARD_CHECK(allocation.bytes <= budget_bytes);
  return allocation;
}

Allocation weigh(std::span<const Group> groups, std::vector<size_t> chosen, double lambda) {
  STEELYARD_CHECK(chosen.size() == groups.size());
  Allocation allocation{.chosen = std::move(chosen), .lambda = lambda};
  std::vector<double> losses;
  for (size_t i = 0; i < groups.size(); ++i) {
    const Candidate& candidate = groups[i].candidates.at(allocation.chosen[i]);
    const std::optional<uint64_t> bytes = checked_add(allocation.bytes, candidate.bytes);
    if (!bytes) fail("", "the sizes of the tensors do not fit 64 bits");
    allocation.bytes = *bytes;
    losses.push_back(candidate.loss);
  }
  // Sorted, so that the last bit does not depend on the order of the groups either.
  std::sort(losses.begin(), losses.end());
  allocation.loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  return allocation;
}

}  // namespace steelyard::search
