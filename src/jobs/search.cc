// The start plan is calibrated, and on the way every tensor is rounded in all types (SearchSignals). Then proposals are
// made, quantized and measured (SearchFiles) on chunks that nothing was calibrated on, beside the start plan and the
// best preset.
#include "jobs/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/atomic_file.h"
#include "base/data_folder.h"
#include "base/error.h"
#include "base/output_target.h"
#include "base/sha256.h"
#include "base/text_file.h"
#include "gguf/fingerprint.h"
#include "imatrix/matching.h"
#include "jobs/calibration_text.h"
#include "jobs/mixed_text.h"
#include "jobs/outputs.h"
#include "jobs/search_budget.h"
#include "jobs/search_files.h"
#include "jobs/search_report.h"
#include "jobs/search_signals.h"
#include "jobs/source.h"
#include "jobs/threads.h"
#include "model/architecture.h"
#include "plan/plan_names.h"
#include "quantize/preflight.h"
#include "schedule/gradient_sweep.h"
#include "search/loss_model.h"

namespace steelyard::jobs {
namespace {

using Clock = std::chrono::steady_clock;
using Damages = std::vector<search::TensorDamage>;

// One-sided quantile of the normal distribution: a plan is better where chance says so once in a hundred.
constexpr double kOnePercent = 2.33;
// How much jumps weigh in a proposal: 1, then more and less in turn. How those of many tensors add up is only roughly
// known, so plans that mind them more, or less, are measured too.
double jump_weight(int64_t round) { return std::pow(1.5, round % 2 == 0 ? round / 2 : -(round / 2)); }

std::unique_ptr<SearchBudget> make_budget(const SearchOptions& options, int64_t n_context, const gguf::Source& source) {
  if (options.size > 0) return size_budget(source, options.size);
  if (options.bpw > 0) return bits_budget(source, options.bpw);
  return device_budget(source, options.devices, n_context);
}

class Search {
 public:
  // n_context: of devices
  Search(const SearchOptions& options, int64_t n_context, const ProgressCallback& progress)
      : options_(options),
        progress_(progress),
        opened_(open_source(options.model)),
        types_(candidate_types(options.types)),
        n_context_(n_context),
        budget_(make_budget(options, n_context, source_)),
        fixed_(fixed_types(options.steering, source_, !options.imatrix.empty())) {
    if (!options.imatrix.empty()) imatrix_ = imatrix::load_for(options.imatrix, source_.tensors());
    result_.output = options.output;
  }

  SearchResult run();

 private:
  plan::Resolution resolved(const plan::Plan& plan) const {
    return resolve(plan, source_.tensors(), plan::model_facts(source_.metadata(), imatrix_.has_value()));
  }
  search::Types types_under(const plan::Plan& plan) const {
    search::Types types;
    const plan::Resolution resolution = resolved(plan);
    for (const plan::Decision& decision : resolution.decisions) types[decision.tensor->name] = decision.type;
    return types;
  }
  bool gives_the_same(const plan::Plan& a, const plan::Plan& b) const {
    return std::ranges::equal(resolved(a).decisions, resolved(b).decisions, {}, &plan::Decision::type,
                              &plan::Decision::type);
  }
  std::pair<std::string, plan::Plan> largest_preset() const;
  void cut_text();
  tokenizer::Chunks calibration_chunks() const;
  std::string identity() const;
  void collect(SearchSignals& signals, SearchFiles& files, SearchState& state, const std::string& plan);
  void add(MadeFile made);
  Choice choose(const Damages& damages);
  void fit_devices(const MadeFile& written);
  double fit_jumps(const Damages& damages) const;
  void propose(SearchFiles& files, const Damages& damages);
  const MadeFile& best() const;

  const Clock::time_point began_ = Clock::now();
  const SearchOptions& options_;
  const ProgressCallback& progress_;
  const std::unique_ptr<const gguf::Source> opened_;
  const gguf::Source& source_ = *opened_;
  const std::vector<formats::Type> types_;
  const int64_t n_context_;
  const std::unique_ptr<SearchBudget> budget_;
  const search::Types fixed_;
  std::optional<imatrix::Imatrix> imatrix_;
  SearchResult result_;
  int64_t n_calibrating_ = 0, n_held_out_ = 0;
  std::vector<MadeFile> made_;             // the first: by the start plan
  std::map<std::string, Choice> choices_;  // by name: what proposals are
};

std::pair<std::string, plan::Plan> Search::largest_preset() const {
  std::pair<std::string, plan::Plan> largest;
  uint64_t most = 0;
  for (const std::string& name : plan::preset_names(data_folder("plans"))) {
    plan::Plan preset = options_.steering.before(plan::Plan::preset(data_folder("plans"), name));
    const uint64_t needed = resolved(preset).total_bytes;
    if (needed <= most || budget_->missing(types_under(preset)) > 0) continue;
    most = needed;
    largest = {name, std::move(preset)};
  }
  return largest;
}

void Search::cut_text() {
  const int64_t n_all =
      read_chunks(options_.text, tokenizer::Tokenizer(source_.metadata()), options_.text.chunks).count();
  n_held_out_ = std::min(options_.held_out, n_all / 4);
  if (n_held_out_ < 2) fail(options_.text.file, "a search needs 8 chunks of text, found {}", n_all);
  n_calibrating_ = std::min(n_all - n_held_out_, enough_chunks(model::read_config(source_), options_.text.ctx_size));
}

tokenizer::Chunks Search::calibration_chunks() const {
  return read_chunks(options_.text, tokenizer::Tokenizer(source_.metadata()), n_calibrating_);
}

// Everything that what is measured depends on, which is not the size.
std::string Search::identity() const {
  const auto hash = [](const std::string& path) { return path.empty() ? "" : sha256_of_file(path); };
  return sha256(fmt::format("{}\n{}\n{}\n{} {} {}\n{}\n{}", gguf::fingerprint(source_), hash(options_.text.file),
                            hash(options_.imatrix), options_.text.ctx_size, n_calibrating_, n_held_out_, options_.types,
                            options_.effort));
}

// Once for all sizes: beside another plan tensors would lose nearly the same.
void Search::collect(SearchSignals& signals, SearchFiles& files, SearchState& state, const std::string& plan) {
  if (!state.heard) {
    if (state.plan != plan) state.in_layers.clear();
    state.plan = plan;
    // A file that an interrupted run began has tensors that are not tried again: all of them must be in the state.
    if (state.in_layers.empty()) files.forget(plan);
    files.try_types(plan, signals.trials(files.base()));
    state.heard = true;
    state.save();
  }
  if (progress_) progress_({.stage = "probe", .item = "embedding and output"});
  signals.probe_outside(files.base());
}

void Search::add(MadeFile made) {
  const evaluate::MeanEstimate difference =
      made_.empty() ? evaluate::MeanEstimate() : paired_difference(made.figures, made_.front().figures);
  result_.measured.push_back({.plan = made.name,
                              .bytes = made.bytes,
                              .divergence = made.figures.mean_divergence(),
                              .same_top = evaluate::mean_estimate(made.figures.same_top).mean,
                              .difference = difference.mean,
                              .standard_error = difference.standard_error});
  if (progress_) progress_({.stage = "measure", .data = to_json(result_.measured.back()), .item = made.name});
  made_.push_back(std::move(made));
}

Choice Search::choose(const Damages& damages) {
  ChoiceProblem problem{.tensors = source_.tensors(),
                        .damages = with_all_tensors(source_.tensors(), damages, fixed_, made_.front().types),
                        .measured = damages,
                        .ties = {},
                        .max_rules = options_.steering.simple};
  if (options_.steering.tie) problem.ties = gates_with_ups(source_.tensors());
  Choice choice = budget_->choose(problem);
  result_.budget = choice.budget;
  result_.limit = choice.limit;
  return choice;
}

// What `fit` says of the plan that was written.
void Search::fit_devices(const MadeFile& written) {
  if (options_.devices.vram.empty()) return;
  FitOptions fit_options{.model = options_.model, .ctx_size = n_context_, .devices = options_.devices};
  fit_options.source.plan = options_.output;
  fit_options.imatrix = options_.imatrix;
  const Choice& choice = choices_[written.name];  // an empty one of a plan that was not chosen
  if (!choice.tensor_split.empty()) fit_options.devices.placement.tensor_split = choice.tensor_split;
  const FitResult fitted = fit(fit_options);
  if (!fitted.fits) fail(options_.output, "does not fit --vram {}", options_.devices.vram);
  result_.devices = fitted.devices;
  result_.has_largest_types = choice.has_largest_types;
  result_.tensor_split = choice.tensor_split;
}

// Jumps of several layers meet each other, and hidden states that are off already: what the best file loses beyond its
// smooth losses, over what was estimated. Files with types that were not tried have no estimate.
double Search::fit_jumps(const Damages& damages) const {
  const auto is_estimated = [&](const MadeFile& made) {
    return std::ranges::all_of(
        damages, [&](const search::TensorDamage& tensor) { return damage_in(tensor, made.types) != nullptr; });
  };
  const MadeFile* best = nullptr;
  for (const MadeFile& made : made_) {
    if (!is_estimated(made)) continue;
    if (best == nullptr || made.figures.mean_divergence() < best->figures.mean_divergence()) best = &made;
  }
  if (best == nullptr) return 1;
  const search::Divergence estimated = divergence(damages, best->types);
  if (estimated.jumps == 0) return 1;
  return std::max(0.0, best->figures.mean_divergence() - estimated.smooth) / estimated.jumps;
}

void Search::propose(SearchFiles& files, const Damages& measured) {
  Damages damages = measured;
  Clock::time_point round_began = Clock::now();
  for (int64_t round = 1; round <= options_.rounds; ++round) {
    const Clock::time_point now = Clock::now();
    const std::chrono::duration<double> since_begin = now - began_, last_round = now - round_began;
    if (round > 1 && options_.time > 0 && (since_begin + last_round).count() > options_.time) break;
    round_began = now;
    const double factor = fit_jumps(measured) * jump_weight(round);
    for (size_t i = 0; i < damages.size(); ++i)
      for (size_t t = 0; t < damages[i].types.size(); ++t)
        damages[i].types[t].jumps = measured[i].types[t].jumps * factor * factor;
    Choice choice = choose(damages);
    if (std::ranges::any_of(made_, [&](const MadeFile& made) { return made.types == choice.types; })) continue;
    add(files.make(fmt::format("proposal {}", round), choice.text));
    choices_[made_.back().name] = std::move(choice);
    if (round > 1 && &best() != &made_.back()) break;
  }
  for (const search::TensorDamage& tensor : damages)
    for (const search::Damage& damage : tensor.types)
      result_.sensitivities.push_back({.tensor = tensor.tensor,
                                       .type = std::string(format(damage.type).name),
                                       .bytes = damage.bytes,
                                       .smooth = damage.smooth,
                                       .jumps = damage.jumps});
}

// The start plan, unless another is significantly better; of several the first that no later one is significantly
// better than. Held-out text is short, and what it prefers by chance is not better on other text.
const MadeFile& Search::best() const {
  // A preset knows of no demands. It is only measured then.
  const bool has_demands = options_.steering.tie || options_.steering.simple > 0;
  const MadeFile* best = &made_.front();
  for (const MadeFile& made : made_) {
    if (made.is_preset && has_demands) continue;
    const evaluate::MeanEstimate gain = paired_difference(made.figures, best->figures);
    if (gain.mean + kOnePercent * gain.standard_error < 0) best = &made;
  }
  return *best;
}

SearchResult Search::run() {
  schedule::GradientSweep::require_backward(options_.model, model::read_config(source_));
  result_.budget = budget_->bytes();
  if (const uint64_t missing = budget_->missing(smallest_types(source_.tensors(), types_, fixed_));
      missing > 0 && !options_.devices.vram.empty())
    fail("", "{} bytes are missing: not even the smallest of --types fit", missing);
  cut_text();
  auto [preset_name, preset] = largest_preset();
  if (!options_.source.given() && preset_name.empty())
    fail("", "no preset fits into {} bytes of tensor data: give a plan that does", result_.budget);
  const plan::Plan start = options_.source.given() ? options_.steering.before(options_.source.load()) : preset;
  result_.start =
      options_.source.given() ? options_.source.plan + options_.source.preset + options_.source.type : preset_name;
  const plan::Resolution resolution = resolved(start);
  if (const uint64_t missing = budget_->missing(types_under(start)); missing > 0)
    fail("", "the plan {} needs {} bytes more than the {} bytes of tensor data that may be used", result_.start,
         missing, result_.budget);

  if (imatrix_) result_.findings = described(findings(quantize::QuantizeJob{source_, resolution, &*imatrix_}));
  SearchState state(options_.resume, options_.resume.empty() ? "" : identity());
  SearchSignals signals(options_, source_, resolution, types_, imatrix_ ? &*imatrix_ : nullptr, state);
  if (progress_) progress_({.stage = "gradients", .item = "gradients"});
  signals.compute_gradients(calibration_chunks());
  SearchFiles files(options_, source_, n_calibrating_, n_held_out_, state, progress_);
  collect(signals, files, state, start.text());
  add(files.make("start", start.text()));
  if (const uint64_t needed = made_.front().bytes + made_.front().header_bytes;
      options_.size > 0 && needed > options_.size)
    fail("", "the plan {} gives a file of {} bytes, --size is {}", result_.start, needed, options_.size);
  budget_->learn(made_.front().types, made_.front().bytes + made_.front().header_bytes, made_.front().plan.size());
  if (!preset_name.empty() && !gives_the_same(preset, start)) {
    add(files.make(preset_name, preset.text()));
    made_.back().is_preset = true;
  }
  propose(files, signals.damages());
  const MadeFile& found = best();
  write_file(options_.output, found.plan);
  fit_devices(found);
  result_.chosen = found.name;
  result_.bytes = found.bytes;
  if (!options_.report.empty())
    write_file(options_.report, search_report({options_, source_, result_, n_calibrating_, n_held_out_, made_}));
  return std::move(result_);
}

}  // namespace

SearchResult search(const SearchOptions& options, const ProgressCallback& progress) {
  options.check();
  use_threads(options.threads);
  const std::vector<std::string> inputs = {options.model,
                                           options.text.file,
                                           options.source.plan,
                                           options.imatrix,
                                           options.conversations.conversations,
                                           options.conversations.chat_template};
  check_output(options.output, inputs);
  if (!options.resume.empty()) check_output(options.resume, inputs, {options.output});
  if (!options.report.empty()) check_output(options.report, inputs, {options.output, options.resume});
  // Chunks of the text are another matter than the context that devices have room for.
  SearchOptions cut = options;
  cut.text.ctx_size = options.chunk_size();
  // It is read again for each file that is made, as quantize reads it.
  const RereadableText text(options.text.file);
  cut.text.file = text.path();
  const MixedText mixed(cut.text, options.conversations, options.conversations_share, options.model,
                        name_beside(options.output, ".search.text"));
  cut.text.file = mixed.file();
  return Search(cut, options.text.ctx_size, progress).run();
}

}  // namespace steelyard::jobs
