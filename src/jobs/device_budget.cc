// The budget of devices. Who holds which layers and what types layers have depend on each other, so the split comes
// first, by what types would lose in it (search/layer_split.h). Then each device has a budget of its own. What `fit`
// says of the types that were chosen has the last word.
//
// Tensors on no device (layers that stay on the host, blocks that predict further tokens) are not limited by any. They
// get as many bits per weight as those on devices.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "jobs/search_budget.h"
#include "model/architecture.h"
#include "schedule/placement.h"
#include "search/layer_split.h"

namespace steelyard::jobs {
namespace {

using Kind = schedule::TensorPlace::Kind;

constexpr double kFull = 0.98;
constexpr size_t kNowhere = static_cast<size_t>(-1);

search::Types smallest(const ChoiceProblem& problem) {
  search::Types types;
  for (const search::TensorDamage& tensor : problem.damages)
    types[tensor.tensor] = std::ranges::min(tensor.types, {}, &search::Damage::bytes).type;
  return types;
}

class DeviceBudget : public SearchBudget {
 public:
  DeviceBudget(const gguf::Source& source, const DeviceOptions& devices, int64_t n_context)
      : source_(source),
        devices_(devices),
        free_(devices.free_bytes()),
        config_(model::read_config(source)),
        request_(devices.memory_request(config_, n_context)) {
    const schedule::MemoryPlan plan = plan_memory(source, config_, request_);
    const schedule::Placement placement = place(plan);  // error where the split is none
    if (placement.host == plan.all()) fail("", "--gpu-layers 0: no layer would be on the devices");
    is_tied_ = plan.tied_output > 0;
  }

  uint64_t bytes() const override;
  uint64_t missing(const search::Types& types) const override;
  Choice choose(const ChoiceProblem& problem) const override;

 private:
  schedule::MemoryPlan plan_of(const search::Types& types) const {
    const std::vector<gguf::TensorInfo> tensors = tensors_in(source_.tensors(), types);
    return plan_memory({tensors, source_.path()}, config_, request_);
  }
  schedule::Placement place(const schedule::MemoryPlan& plan) const {
    return place_layers(plan, devices_.placement.request(free_));
  }
  std::vector<uint64_t> excess(const schedule::MemoryPlan& plan, const schedule::Placement& placement) const;
  size_t device_of(const std::string& tensor, const schedule::Placement& placement) const;
  void refuse_too_small(const ChoiceProblem& problem) const;
  std::vector<search::SplitLayer> split_problem(const ChoiceProblem& problem, const schedule::MemoryPlan& plan,
                                                double jumps) const;
  schedule::Placement split(ChoiceProblem& problem) const;
  search::ChoiceLimits limits(const ChoiceProblem& problem, const schedule::Placement& placement) const;
  search::Types choose_on(const schedule::Placement& placement, const ChoiceProblem& problem, Choice& choice) const;
  schedule::Placement simplify(const ChoiceProblem& problem, Choice& choice) const;
  std::string note(const Choice& choice) const;

  const gguf::Source& source_;
  const DeviceOptions devices_;
  const std::vector<uint64_t> free_;
  const model::ModelConfig config_;
  const schedule::MemoryRequest request_;
  bool is_tied_ = false;  // the embedding is the output as well, and where these are on two devices it is on both
};

uint64_t total(const std::vector<uint64_t>& bytes) { return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0}); }

// As if devices were one, but for what each needs for itself.
uint64_t DeviceBudget::bytes() const {
  const schedule::MemoryPlan plan = plan_memory(source_, config_, request_);
  uint64_t besides = plan.logits + free_.size() * (plan.tables + plan.activations);
  for (int i = place(plan).host.end; i < plan.all().end; ++i) besides += plan.layers[static_cast<size_t>(i)].cache;
  const uint64_t all = total(free_);
  return all - std::min(all, besides);
}

std::vector<uint64_t> DeviceBudget::excess(const schedule::MemoryPlan& plan,
                                           const schedule::Placement& placement) const {
  std::vector<uint64_t> over;
  for (size_t d = 0; d < free_.size(); ++d) {
    const uint64_t needed = plan.on_device(placement.devices[d]).total();
    over.push_back(needed - std::min(needed, free_[d]));
  }
  return over;
}

uint64_t DeviceBudget::missing(const search::Types& types) const {
  const schedule::MemoryPlan plan = plan_of(types);
  return total(excess(plan, place(plan)));
}

size_t DeviceBudget::device_of(const std::string& tensor, const schedule::Placement& placement) const {
  const schedule::TensorPlace place = schedule::place_of(tensor, config_.layers.size());
  if (place.kind == Kind::kPrediction || place.kind == Kind::kHost) return kNowhere;
  const auto last = static_cast<int>(config_.layers.size()) - 1;
  const int layer = place.kind == Kind::kLayer       ? static_cast<int>(place.layer)
                    : place.kind == Kind::kEmbedding ? 0
                                                     : last;
  for (size_t d = 0; d < placement.devices.size(); ++d)
    if (layer >= placement.devices[d].begin && layer < placement.devices[d].end) return d;
  return kNowhere;
}

void DeviceBudget::refuse_too_small(const ChoiceProblem& problem) const {
  const uint64_t least = missing(smallest(problem));
  if (least > 0)
    fail("", "--vram {}: {} bytes are missing for the smallest types with a context of {} tokens", devices_.vram, least,
         request_.n_context);
}

// The layers on devices, with what cannot be chosen about them.
std::vector<search::SplitLayer> DeviceBudget::split_problem(const ChoiceProblem& problem,
                                                            const schedule::MemoryPlan& plan, double jumps) const {
  const auto first = static_cast<size_t>(place(plan).host.end), n_layers = plan.layers.size();
  std::vector<search::SplitLayer> layers(n_layers - first);
  for (size_t i = first; i < n_layers; ++i)
    layers[i - first].fixed_bytes = static_cast<int64_t>(plan.layers[i].cache + plan.layers[i].weights);
  if (first == 0) layers.front().fixed_bytes += static_cast<int64_t>(plan.embedding);
  layers.back().fixed_bytes += static_cast<int64_t>(plan.output + plan.tied_output + plan.logits);
  std::map<std::string, uint64_t> present;  // in the types of `plan`
  for (const search::TensorDamage& tensor : problem.damages) present[tensor.tensor] = tensor.types.front().bytes;
  for (search::Group& group : tangent_groups(problem.damages, problem.ties, jumps)) {
    const schedule::TensorPlace place = schedule::place_of(group.tensors.front(), n_layers);
    const size_t layer = place.kind == Kind::kLayer ? place.layer : place.kind == Kind::kEmbedding ? 0 : n_layers - 1;
    if (place.kind == Kind::kPrediction || place.kind == Kind::kHost || layer < first) continue;
    for (const std::string& tensor : group.tensors)
      layers[layer - first].fixed_bytes -= static_cast<int64_t>(present[tensor]);
    layers[layer - first].groups.push_back(std::move(group));
  }
  return layers;
}

search::Types first_types(const ChoiceProblem& problem) {
  search::Types types;
  for (const search::TensorDamage& tensor : problem.damages) types[tensor.tensor] = tensor.types.front().type;
  return types;
}

// Narrows `problem` where the embedding counts on two devices: it gets one type before the rest is chosen.
schedule::Placement DeviceBudget::split(ChoiceProblem& problem) const {
  const search::Types least = smallest(problem);
  const bool is_given = free_.size() == 1 || !devices_.placement.tensor_split.empty();
  if (is_given && !(is_tied_ && free_.size() > 1)) return place(plan_of(least));
  // Jumps of about what will be chosen: as if all devices were one.
  const ChoiceProblem given = problem;
  ChoiceProblem as_one = problem;
  uint64_t n_elements = 0, n_elsewhere = 0, smallest_bytes = 0;
  const schedule::Placement some = place(plan_of(least));
  for (size_t i = 0; i < problem.damages.size(); ++i) {
    const auto n = static_cast<uint64_t>(problem.tensors[i].n_elements());
    (device_of(problem.tensors[i].name, some) == kNowhere ? n_elsewhere : n_elements) += n;
    const bool counts_twice = is_tied_ && problem.tensors[i].name.starts_with("token_embd");
    for (search::Damage& damage : as_one.damages[i].types) damage.bytes *= counts_twice ? 2 : 1;
    smallest_bytes += std::ranges::min(as_one.damages[i].types, {}, &search::Damage::bytes).bytes;
  }
  const auto elsewhere = static_cast<uint64_t>(static_cast<double>(bytes()) * static_cast<double>(n_elsewhere) /
                                               static_cast<double>(std::max<uint64_t>(n_elements, 1)));
  const search::Types types = choose_types(as_one, std::max(smallest_bytes, bytes() + elsewhere));
  const double jumps = divergence(problem.damages, types).jumps;
  for (const search::Types& embedding : {types, least}) {
    for (search::TensorDamage& tensor : problem.damages) {
      if (!is_tied_ || !tensor.tensor.starts_with("token_embd")) continue;
      const formats::Type type = embedding.at(tensor.tensor);
      tensor.types = std::ranges::find(given.damages, tensor.tensor, &search::TensorDamage::tensor)->types;
      std::erase_if(tensor.types, [&](const search::Damage& damage) { return damage.type != type; });
    }
    const schedule::MemoryPlan plan = plan_of(first_types(problem));
    if (is_given) return place(plan);
    std::vector<uint64_t> room = free_;
    for (uint64_t& bytes : room) bytes -= std::min(bytes, plan.tables + plan.activations);
    const std::vector<size_t> counts = search::split_layers(split_problem(problem, plan, jumps), room, kFull);
    if (counts.empty()) continue;
    schedule::Placement placement{.host = some.host, .devices = {}};
    int begin = some.host.end;
    for (const size_t count : counts) {
      placement.devices.push_back({begin, begin + static_cast<int>(count)});
      begin += static_cast<int>(count);
    }
    return placement;
  }
  return some;
}

search::ChoiceLimits DeviceBudget::limits(const ChoiceProblem& problem, const schedule::Placement& placement) const {
  const schedule::MemoryPlan plan = plan_of(first_types(problem));
  const size_t n = free_.size();
  search::ChoiceLimits limits{.budgets = std::vector<uint64_t>(n + 1), .parts = {}, .ties = problem.ties};
  std::vector<int64_t> besides(n);
  for (size_t d = 0; d < n; ++d) besides[d] = static_cast<int64_t>(plan.on_device(placement.devices[d]).total());
  uint64_t least_elsewhere = 0;
  double n_on_devices = 0, n_elsewhere = 0;
  for (size_t i = 0; i < problem.damages.size(); ++i) {
    const search::TensorDamage& tensor = problem.damages[i];
    const size_t device = device_of(tensor.tensor, placement);
    const auto n_elements = static_cast<double>(problem.tensors[i].n_elements());
    limits.parts[tensor.tensor] = std::min(device, n);
    if (device != kNowhere) {
      besides[device] -= static_cast<int64_t>(tensor.types.front().bytes);
      n_on_devices += n_elements;
      continue;
    }
    least_elsewhere += std::ranges::min(tensor.types, {}, &search::Damage::bytes).bytes;
    n_elsewhere += n_elements;
  }
  uint64_t sum = 0;
  for (size_t d = 0; d < n; ++d) {
    if (placement.devices[d].empty()) continue;
    const int64_t left = static_cast<int64_t>(free_[d]) - besides[d];
    if (left < 0) fail("", "--vram {}: {} bytes are missing on device {}", devices_.vram, -left, d);
    sum += limits.budgets[d] = static_cast<uint64_t>(left);
  }
  limits.budgets[n] = std::max(
      least_elsewhere, static_cast<uint64_t>(static_cast<double>(sum) * n_elsewhere / std::max(n_on_devices, 1.0)));
  return limits;
}

// Lowers budgets until it fits; sets `choice.budget`.
search::Types DeviceBudget::choose_on(const schedule::Placement& placement, const ChoiceProblem& problem,
                                      Choice& choice) const {
  constexpr int kMostTries = 8;
  search::ChoiceLimits now = limits(problem, placement);
  for (int i = 0; i < kMostTries; ++i) {
    search::Types types = allocate_types(problem.damages, now);
    choice.budget = total(now.budgets);
    const std::vector<uint64_t> over = excess(plan_of(types), placement);
    if (total(over) == 0) return types;
    for (size_t d = 0; d < over.size(); ++d) now.budgets[d] -= std::min(now.budgets[d], over[d]);
  }
  fail("", "--vram {}: found no types that fit", devices_.vram);
}

// Rules go across devices, so all have one budget, which is lowered until the fullest device has room.
schedule::Placement DeviceBudget::simplify(const ChoiceProblem& problem, Choice& choice) const {
  constexpr int kMostTries = 16;
  constexpr uint64_t kStep = 500;
  const search::Types best = choice.types;
  uint64_t budget = 0;
  for (const gguf::TensorInfo& tensor : tensors_in(source_.tensors(), best)) budget += tensor.n_bytes;
  for (int i = 0; i < kMostTries; ++i) {
    choice.types = choose_simple(problem, budget, best, choice);
    choice.budget = budget;
    const schedule::MemoryPlan plan = plan_of(choice.types);
    const schedule::Placement placement = place(plan);
    const uint64_t over = total(excess(plan, placement));
    if (over == 0) return placement;
    budget -= std::min(budget, std::max(over, budget / kStep));
  }
  fail("", "--simple: no plan of at most {} rules was found that fits --vram {}", problem.max_rules, devices_.vram);
}

std::string DeviceBudget::note(const Choice& choice) const {
  std::string text = fmt::format("for --vram {} -c {}", devices_.vram, request_.n_context);
  if (devices_.placement.gpu_layers < std::ssize(config_.layers))
    text += fmt::format(" --gpu-layers {}", devices_.placement.gpu_layers);
  if (!choice.tensor_split.empty()) text += fmt::format(" --tensor-split {}", fmt::join(choice.tensor_split, ","));
  return text;
}

Choice DeviceBudget::choose(const ChoiceProblem& given) const {
  refuse_too_small(given);
  ChoiceProblem problem = given;
  schedule::Placement placement = split(problem);
  Choice choice;
  choice.types = choose_on(placement, problem, choice);
  if (problem.max_rules > 0) placement = simplify(problem, choice);
  if (free_.size() > 1)
    for (const schedule::LayerRange& range : placement.devices) choice.tensor_split.push_back(range.size());
  write_choice(given, note(choice), choice);
  return choice;
}

}  // namespace

std::unique_ptr<SearchBudget> device_budget(const gguf::Source& source, const DeviceOptions& devices,
                                            int64_t n_context) {
  return std::make_unique<DeviceBudget>(source, devices, n_context);
}

}  // namespace steelyard::jobs
