#include "jobs/search_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "formats/format.h"
#include "gguf/block_name.h"
#include "jobs/search_steering.h"
#include "plan/protection.h"
#include "plan/resolve.h"
#include "report/search_page.h"
#include "search/loss_model.h"

namespace steelyard::jobs {
namespace {

// Points of the curve over all sizes, and to either side of the budget, within a sixteenth of it.
constexpr int kPoints = 25, kNear = 4;
// What a larger budget has more: a GiB, or a twentieth of a budget that is small beside a GiB.
constexpr uint64_t kGiB = uint64_t{1} << 30;

report::Estimate estimate(const evaluate::MeanEstimate& of) { return {of.mean, of.standard_error}; }

std::string kind_of(const std::string& tensor) {
  const auto block = gguf::block_name(tensor);
  return block ? tensor.substr(block->end + 1) : tensor;
}

// What a tensor is a part of, by the names that GGUF gives (docs/gguf.md).
std::string group_of(const std::string& tensor) {
  const std::string kind = kind_of(tensor);
  const auto has = [&](const char* part) { return kind.find(part) != std::string::npos; };
  if (kind == tensor) {
    if (kind == "token_embd.weight") return "embedding";
    if (kind == "output.weight") return "output";
    return "other";
  }
  if (!kind.ends_with(".weight") || has("norm")) return "other";
  if (has("_exps")) return "experts";
  if (has("_shexp")) return "shared experts";
  if (has("ffn_gate_inp")) return "other";
  for (const char* const mixer : {"attn_", "indexer", "ssm_", "shortconv"}) {
    if (kind.starts_with(mixer)) return "attention";
  }
  if (kind.starts_with("ffn_")) return "dense feed-forward";
  return "other";
}

// As the search has chosen by them.
std::vector<search::TensorDamage> damages_of(const SearchResult& result) {
  std::vector<search::TensorDamage> damages;
  for (const Sensitivity& at : result.sensitivities) {
    if (damages.empty() || damages.back().tensor != at.tensor) damages.push_back({at.tensor, {}});
    damages.back().types.push_back({formats::find_format(at.type)->type, at.bytes, at.smooth, at.jumps});
  }
  return damages;
}

class Filler {
 public:
  explicit Filler(const SearchReport& of) : of_(of), damages_(damages_of(of.result)) {}

  report::SearchPage page() {
    const auto& measured = of_.result.measured;
    page_.model = of_.options.model;
    page_.text = of_.options.text.file;
    page_.output = of_.options.output;
    page_.n_ctx = of_.options.text.ctx_size;
    page_.n_calibrating = of_.n_calibrating;
    page_.n_held_out = of_.n_held_out;
    page_.budget = of_.result.budget;
    for (const gguf::TensorInfo& tensor : of_.source.tensors())
      page_.n_elements += static_cast<uint64_t>(tensor.n_elements());
    page_.chosen = static_cast<size_t>(std::ranges::find(measured, of_.result.chosen, &SearchMeasurement::plan) -
                                       measured.begin());
    add_plans();
    add_tensors();
    if (!damages_.empty()) {
      set_choices();
      add_frontier();
      add_more();
    }
    add_divergence();
    return std::move(page_);
  }

 private:
  void add_divergence() {
    const ChunkFigures& figures = of_.plans[page_.chosen].figures;
    page_.divergence = figures.details;
    page_.divergence.mean_kld = estimate(evaluate::mean_estimate(figures.divergence));
    page_.divergence.same_top = estimate(evaluate::mean_estimate(figures.same_top));
    page_.divergence.kld_by_chunk = figures.divergence;
  }

  void add_plans() {
    using Role = report::MeasuredPlan::Role;
    const ChunkFigures& start = of_.plans.front().figures;
    const ChunkFigures& chosen = of_.plans[page_.chosen].figures;
    for (size_t i = 0; i < of_.plans.size(); ++i) {
      const SearchMeasurement& measured = of_.result.measured[i];
      const ChunkFigures& figures = of_.plans[i].figures;
      report::MeasuredPlan plan{.name = measured.plan, .bytes = measured.bytes, .same_top = measured.same_top};
      plan.role = i == 0 ? Role::kStart : of_.plans[i].is_preset ? Role::kPreset : Role::kProposal;
      plan.kld = estimate(evaluate::mean_estimate(figures.divergence));
      plan.from_start = estimate(paired_difference(figures, start));
      plan.from_chosen = estimate(paired_difference(figures, chosen));
      const search::Types& types = of_.plans[i].types;
      if (std::ranges::all_of(damages_, [&](const auto& tensor) { return damage_in(tensor, types) != nullptr; }))
        plan.estimated = divergence(damages_, types).sum();
      page_.plans.push_back(std::move(plan));
    }
  }

  void add_tensors() {
    const search::Types& types = of_.plans[page_.chosen].types;
    const std::map<std::string, double> parts = losses(damages_, types);
    for (const gguf::TensorInfo& tensor : of_.source.tensors()) {
      const formats::Format& format = formats::format(types.at(tensor.name));
      const auto n = static_cast<uint64_t>(tensor.n_elements());
      report::PlannedTensor planned{.name = tensor.name,
                                    .layer = gguf::block_of(tensor.name),
                                    .kind = kind_of(tensor.name),
                                    .group = group_of(tensor.name),
                                    .type = std::string(format.name),
                                    .n_elements = n};
      // Rows are whole blocks, so their sum is.
      planned.bytes = n / static_cast<uint64_t>(format.block_len) * static_cast<uint64_t>(format.block_bytes);
      planned.is_planned = !plan::protection(tensor);
      if (const auto part = parts.find(tensor.name); part != parts.end()) planned.loss = part->second;
      page_.tensors.push_back(std::move(planned));
    }
  }

  // What can be chosen, as the search chooses: tensors that it fixes or has no losses of have one type.
  void set_choices() {
    const search::Types& types = of_.plans[page_.chosen].types;
    const search::Types fixed = fixed_types(of_.options.steering, of_.source, !of_.options.imatrix.empty());
    choices_ = with_all_tensors(of_.source.tensors(), damages_, fixed, types);
    if (of_.options.steering.tie) ties_ = gates_with_ups(of_.source.tensors());
    for (const std::vector<std::string>& tie : ties_) keep_common_types(tie);
    for (const search::TensorDamage& tensor : choices_) {
      least_ += std::ranges::min_element(tensor.types, {}, &search::Damage::bytes)->bytes;
      most_ += std::ranges::max_element(tensor.types, {}, &search::Damage::bytes)->bytes;
    }
  }

  // So that the smallest types of all tensors are a choice.
  void keep_common_types(const std::vector<std::string>& tie) {
    std::vector<search::TensorDamage*> tied;
    for (search::TensorDamage& tensor : choices_) {
      if (std::ranges::find(tie, tensor.tensor) != tie.end()) tied.push_back(&tensor);
    }
    const auto is_common = [&](const search::Damage& damage) {
      return std::ranges::all_of(tied, [&](const search::TensorDamage* other) {
        return std::ranges::find(other->types, damage.type, &search::Damage::type) != other->types.end();
      });
    };
    for (search::TensorDamage* tensor : tied)
      std::erase_if(tensor->types, [&](const search::Damage& damage) { return !is_common(damage); });
  }

  search::Types best_types(uint64_t budget) const {
    return allocate_types(choices_, search::ChoiceLimits{.budgets = {budget}, .parts = {}, .ties = ties_});
  }

  uint64_t bytes_of(const search::Types& types) const {
    uint64_t sum = 0;
    for (const search::TensorDamage& tensor : choices_) sum += damage_in(tensor, types)->bytes;
    return sum;
  }

  void add_frontier() {
    std::set<uint64_t> budgets = {least_, most_};
    // The curve bends most at its beginning: steps grow with the size.
    for (int i = 1; i + 1 < kPoints && least_ > 0; ++i) {
      const double grown = std::pow(static_cast<double>(most_) / static_cast<double>(least_), i / (kPoints - 1.0));
      budgets.insert(std::clamp(static_cast<uint64_t>(static_cast<double>(least_) * grown), least_, most_));
    }
    for (int i = -kNear; i <= kNear; ++i) {
      const auto at = static_cast<uint64_t>(static_cast<double>(of_.result.budget) * (1 + i / (16.0 * kNear)));
      if (least_ <= at && at <= most_) budgets.insert(at);
    }
    for (const uint64_t budget : budgets) {
      const search::Types types = best_types(budget);
      const report::FrontierPoint point{bytes_of(types), divergence(choices_, types).sum()};
      if (page_.frontier.empty() || page_.frontier.back().bytes < point.bytes) page_.frontier.push_back(point);
    }
  }

  void add_more() {
    const uint64_t budget = of_.result.budget;
    if (budget < least_) return;
    report::MoreBytes more{.extra = budget >= 8 * kGiB ? kGiB : budget / 20};
    const search::Types now = best_types(budget);
    const search::Types then = best_types(budget + more.extra);
    more.kld_before = divergence(choices_, now).sum();
    more.kld_after = divergence(choices_, then).sum();
    const auto before = losses(choices_, now), after = losses(choices_, then);
    std::map<std::tuple<std::string, formats::Type, formats::Type>, report::TypeChange> changes;
    for (const search::TensorDamage& tensor : choices_) {
      const search::Damage& from = *damage_in(tensor, now);
      const search::Damage& to = *damage_in(tensor, then);
      if (from.type == to.type) continue;
      report::TypeChange& change = changes[{kind_of(tensor.tensor), from.type, to.type}];
      change.kind = kind_of(tensor.tensor);
      change.from = format(from.type).name;
      change.to = format(to.type).name;
      change.n_tensors += 1;
      change.more_bytes += static_cast<int64_t>(to.bytes) - static_cast<int64_t>(from.bytes);
      change.less_loss += before.at(tensor.tensor) - after.at(tensor.tensor);
    }
    for (auto& [key, change] : changes) more.changes.push_back(std::move(change));
    std::ranges::stable_sort(more.changes, std::ranges::greater(), &report::TypeChange::more_bytes);
    page_.more = std::move(more);
  }

  const SearchReport& of_;
  const std::vector<search::TensorDamage> damages_;
  std::vector<search::TensorDamage> choices_;  // of all tensors
  std::vector<std::vector<std::string>> ties_;
  uint64_t least_ = 0, most_ = 0;  // bytes of the smallest and the largest types
  report::SearchPage page_;
};

}  // namespace

std::string search_report(const SearchReport& of) { return report::search_page(Filler(of).page()); }

}  // namespace steelyard::jobs
