// The start plan is calibrated, and on the way every tensor is rounded in all types (SearchSignals). Then proposals are
// made, quantized and measured (SearchFiles) on chunks that nothing was calibrated on, beside the start plan and the
// best preset.
#include "jobs/search.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "base/atomic_file.h"
#include "base/data_folder.h"
#include "base/error.h"
#include "base/sha256.h"
#include "gguf/fingerprint.h"
#include "imatrix/imatrix.h"
#include "jobs/calibration_text.h"
#include "jobs/outputs.h"
#include "jobs/search_files.h"
#include "jobs/search_signals.h"
#include "jobs/threads.h"
#include "model/architecture.h"
#include "plan/plan_names.h"
#include "schedule/gradient_sweep.h"
#include "search/plan_text.h"

namespace steelyard::jobs {
namespace {

using formats::Type;
using Damages = std::vector<search::TensorDamage>;

// One-sided quantile of the normal distribution: a plan is better where chance says so once in a hundred.
constexpr double kOnePercent = 2.33;
// A proposal must be better than the best file by so much, as estimated: to make it takes a calibration.
constexpr double kWorthMaking = 0.02;
// What a file's record of its own making varies by, besides the plan.
constexpr uint64_t kRecordVaries = 256;

std::vector<Type> candidate_types(const SearchOptions& options) {
  std::vector<Type> types;
  std::istringstream names(options.types);
  for (std::string name; std::getline(names, name, ',');) {
    const formats::Format* const format = formats::find_format(name);
    if (format == nullptr || format->encoder == nullptr) fail("", "--types: {} is no type to quantize to", name);
    types.push_back(format->type);
  }
  if (types.empty()) fail("", "--types: expected at least one type");
  return types;
}

class Search {
 public:
  Search(const SearchOptions& options, const ProgressCallback& progress)
      : options_(options), progress_(progress), source_(options.model), types_(candidate_types(options)) {
    if (!options.imatrix.empty()) imatrix_ = imatrix::Imatrix::load(options.imatrix);
    result_.output = options.output;
  }

  SearchResult run();

 private:
  plan::Resolution resolved(const plan::Plan& plan) const {
    return resolve(plan, source_.tensors(), plan::model_facts(source_.metadata(), imatrix_.has_value()));
  }
  uint64_t data_bytes(const plan::Plan& plan) const { return resolved(plan).total_bytes; }
  bool gives_the_same(const plan::Plan& a, const plan::Plan& b) const {
    return std::ranges::equal(resolved(a).decisions, resolved(b).decisions, {}, &plan::Decision::type,
                              &plan::Decision::type);
  }
  void set_budget();
  std::pair<std::string, plan::Plan> largest_preset() const;
  void cut_text();
  tokenizer::Chunks calibration_chunks() const;
  std::string identity() const;
  void collect(SearchSignals& signals, SearchFiles& files, SearchState& state, const std::string& plan);
  void add(MadeFile made);
  search::Types allocate(const Damages& damages);
  std::string text_of(const search::Types& types, const Damages& damages) const;
  const MadeFile* best_estimated(const Damages& damages) const;
  double fit_jumps(const Damages& damages) const;
  void propose(SearchFiles& files, const Damages& damages);
  const MadeFile& best() const;

  const SearchOptions& options_;
  const ProgressCallback& progress_;
  const gguf::Reader source_;
  const std::vector<Type> types_;
  std::optional<imatrix::Imatrix> imatrix_;
  SearchResult result_;
  int64_t n_calibrating_ = 0, n_held_out_ = 0;
  std::vector<MadeFile> made_;  // the first: by the start plan
};

// Before any file is there, its header is taken to be that of the source.
void Search::set_budget() {
  uint64_t n_elements = 0, data = 0;
  for (const gguf::TensorInfo& tensor : source_.tensors()) {
    n_elements += static_cast<uint64_t>(tensor.n_elements());
    data += tensor.n_bytes;
  }
  if (options_.bpw > 0) {
    result_.budget = static_cast<uint64_t>(options_.bpw * static_cast<double>(n_elements) / 8);
    return;
  }
  const uint64_t header = std::max<uint64_t>(data, std::filesystem::file_size(options_.model)) - data;
  if (options_.size <= header) fail("", "--size: a header alone has {} bytes", header);
  result_.budget = options_.size - header;
}

std::pair<std::string, plan::Plan> Search::largest_preset() const {
  std::pair<std::string, plan::Plan> largest;
  uint64_t most = 0;
  for (const std::string& name : plan::preset_names(data_folder("plans"))) {
    plan::Plan preset = plan::Plan::preset(data_folder("plans"), name);
    const uint64_t needed = data_bytes(preset);
    if (needed > result_.budget || needed <= most) continue;
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
  n_calibrating_ =
      std::min(n_all - n_held_out_, enough_chunks(model::read_config(source_.metadata()), options_.text.ctx_size));
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

// The header of a file is that of the first with another plan in it.
search::Types Search::allocate(const Damages& damages) {
  const MadeFile& start = made_.front();
  uint64_t fixed = start.bytes;
  for (const search::TensorDamage& tensor : damages)
    fixed -= *gguf::tensor_bytes(format(start.types.at(tensor.tensor)), source_.find(tensor.tensor)->ne);
  const uint64_t other = start.header_bytes - start.plan.size() + kRecordVaries;
  search::Types types;
  for (uint64_t plan_bytes = start.plan.size();;) {
    if (options_.size > 0) result_.budget = options_.size - std::min(options_.size, other + plan_bytes);
    if (result_.budget <= fixed)
      fail("", "tensors that have one type only need {} bytes, {} may be used", fixed, result_.budget);
    types = allocate_types(damages, start.types, result_.budget - fixed);
    const uint64_t now = text_of(types, damages).size();
    if (options_.size == 0 || now <= plan_bytes) return types;
    plan_bytes = now + kRecordVaries;
  }
}

std::string Search::text_of(const search::Types& types, const Damages& damages) const {
  search::PlanNotes notes;
  notes.head = "found by `steelyard search`";
  // Shares of the root add up to it.
  const double jumps = divergence(damages, types).jumps;
  for (const search::TensorDamage& tensor : damages) {
    const auto found = std::ranges::find(tensor.types, types.at(tensor.tensor), &search::Damage::type);
    notes.losses[tensor.tensor] = found->smooth + (jumps > 0 ? found->jumps / jumps : 0);
  }
  return search::plan_text(source_.tensors(), types, notes);
}

// Files with types that were not tried have no estimate.
const MadeFile* Search::best_estimated(const Damages& damages) const {
  const auto is_estimated = [&](const MadeFile& made) {
    return std::ranges::all_of(damages, [&](const search::TensorDamage& tensor) {
      return std::ranges::find(tensor.types, made.types.at(tensor.tensor), &search::Damage::type) != tensor.types.end();
    });
  };
  const MadeFile* best = nullptr;
  for (const MadeFile& made : made_) {
    if (!is_estimated(made)) continue;
    if (best == nullptr || made.figures.mean_divergence() < best->figures.mean_divergence()) best = &made;
  }
  return best;
}

// Jumps of several layers meet each other, and hidden states that are off already: what the best file loses beyond its
// smooth losses, over what was estimated.
double Search::fit_jumps(const Damages& damages) const {
  const MadeFile* const best = best_estimated(damages);
  if (best == nullptr) return 1;
  const search::Divergence estimated = divergence(damages, best->types);
  if (estimated.jumps == 0) return 1;
  return std::max(0.0, best->figures.mean_divergence() - estimated.smooth) / estimated.jumps;
}

void Search::propose(SearchFiles& files, const Damages& measured) {
  Damages damages = measured;
  for (int64_t round = 1; round <= options_.rounds; ++round) {
    const double factor = fit_jumps(measured);
    for (size_t i = 0; i < damages.size(); ++i)
      for (size_t t = 0; t < damages[i].types.size(); ++t)
        damages[i].types[t].jumps = measured[i].types[t].jumps * factor * factor;
    const search::Types types = allocate(damages);
    const MadeFile* const before = best_estimated(damages);
    if (before != nullptr &&
        divergence(damages, types).sum() > (1 - kWorthMaking) * divergence(damages, before->types).sum())
      break;
    add(files.make(fmt::format("proposal {}", round), text_of(types, damages)));
  }
  for (const search::TensorDamage& tensor : damages)
    for (const search::Damage& damage : tensor.types)
      result_.sensitivities.push_back({.tensor = tensor.tensor,
                                       .type = std::string(format(damage.type).name),
                                       .bytes = damage.bytes,
                                       .smooth = damage.smooth,
                                       .jumps = damage.jumps});
}

// The start plan, unless another is significantly better.
const MadeFile& Search::best() const {
  const MadeFile* best = &made_.front();
  for (const MadeFile& made : made_) {
    const evaluate::MeanEstimate gain = paired_difference(made.figures, made_.front().figures);
    if (gain.mean + kOnePercent * gain.standard_error < 0 &&
        made.figures.mean_divergence() < best->figures.mean_divergence())
      best = &made;
  }
  return *best;
}

SearchResult Search::run() {
  schedule::GradientSweep::require_backward(options_.model, model::read_config(source_.metadata()));
  set_budget();
  cut_text();
  auto [preset_name, preset] = largest_preset();
  if (!options_.source.given() && preset_name.empty())
    fail("", "no preset fits into {} bytes of tensor data: give a plan that does", result_.budget);
  const plan::Plan start = options_.source.given() ? options_.source.load() : preset;
  result_.start =
      options_.source.given() ? options_.source.plan + options_.source.preset + options_.source.type : preset_name;
  const plan::Resolution resolution = resolved(start);
  if (const uint64_t needed = resolution.total_bytes; needed > result_.budget)
    fail("", "the plan {} needs {} bytes of tensor data, {} may be used", result_.start, needed, result_.budget);

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
  if (!preset_name.empty() && !gives_the_same(preset, start)) add(files.make(preset_name, preset.text()));
  propose(files, signals.damages());
  const MadeFile& found = best();
  write_file(options_.output, found.plan);
  result_.chosen = found.name;
  result_.bytes = found.bytes;
  return std::move(result_);
}

}  // namespace

void SearchOptions::check() const {
  if (!(bpw >= 0 && std::isfinite(bpw))) fail("", "--bpw: expected a number above 0, found {}", bpw);
  if ((size > 0) == (bpw > 0)) fail("", "give one of --size and --bpw");
  if (held_out < 2) fail("", "--held-out: expected at least 2, found {}", held_out);
  if (rounds < 1) fail("", "--rounds: expected at least 1, found {}", rounds);
  // The text is read again for each file that is made, as quantize reads it.
  if (text.file == "-") fail("", "-f: a search reads its text several times, which a pipe cannot be");
  if (text.from_chunk != 0 || text.parse_special) fail("", "--from-chunk and --parse-special: calibration has neither");
  if (text.ppl_stride != 0) fail("", "--ppl-stride: a search calibrates, its chunks do not overlap");
}

ShapingOptions SearchOptions::shaping() const {
  ShapingOptions shaping;
  shaping.effort = effort;
  shaping.ctx_size = text.ctx_size;
  return shaping;
}

SearchResult search(const SearchOptions& options, const ProgressCallback& progress) {
  options.check();
  use_threads(options.threads);
  const std::vector<std::string> inputs = {options.model, options.text.file, options.source.plan, options.imatrix};
  check_output(options.output, inputs);
  if (!options.resume.empty()) check_output(options.resume, inputs);
  return Search(options, progress).run();
}

}  // namespace steelyard::jobs
