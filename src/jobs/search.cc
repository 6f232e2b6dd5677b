// The start plan is calibrated, and on the way every tensor is rounded in all types (SearchSignals). Then proposals are
// made, quantized and measured on chunks that nothing was calibrated on, beside the start plan and the best preset.
#include "jobs/search.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "base/atomic_file.h"
#include "base/data_folder.h"
#include "base/error.h"
#include "gguf/block_name.h"
#include "jobs/outputs.h"
#include "jobs/quantize.h"
#include "jobs/search_measure.h"
#include "jobs/search_signals.h"
#include "jobs/threads.h"
#include "model/architecture.h"
#include "plan/plan_names.h"
#include "schedule/gradient_sweep.h"
#include "search/plan_text.h"

namespace steelyard::jobs {
namespace {

using formats::Type;

// One-sided quantile of the normal distribution: a plan is better where chance says so once in a hundred.
constexpr double kOnePercent = 2.33;
// What a file's record of its own making takes besides the plan, and what it varies by.
constexpr uint64_t kRecordBytes = 2048, kRecordVaries = 256;

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
    result_.output = options.output;
  }
  ~Search() {
    std::error_code ignored;
    std::filesystem::remove(file(), ignored);
    std::filesystem::remove(plan_file(), ignored);
  }
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  SearchResult run();

 private:
  // A plan that was quantized by and measured.
  struct Made {
    std::string name, text;
    search::Types types;    // of all tensors
    uint64_t bytes;         // of their data
    uint64_t header_bytes;  // of the file
    ChunkFigures figures;
    bool is_preset = false;
  };

  std::string file() const { return options_.output + ".search.gguf"; }
  std::string plan_file() const { return options_.output + ".search.plan"; }
  plan::Resolution resolved(const plan::Plan& plan) const {
    return resolve(plan, source_.tensors(), plan::model_facts(source_.metadata(), /*has_imatrix=*/false));
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
  Made make(const std::string& name, const std::string& plan_text, const HeldOut& held_out,
            const calibrate::Trials* trials);
  search::Types allocate(const SearchSignals& signals);
  std::string text_of(const search::Types& types, const SearchSignals& signals) const;
  double fit_jumps(const std::vector<search::TensorDamage>& damages) const;

  const SearchOptions& options_;
  const ProgressCallback& progress_;
  const gguf::Reader source_;
  const std::vector<Type> types_;
  SearchResult result_;
  int64_t n_calibrating_ = 0, n_held_out_ = 0;
  std::vector<Made> made_;  // the first: by the start plan
};

// Before any file is there, its header is taken to be that of the source with a record.
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
  const uint64_t all = std::max<uint64_t>(data, std::filesystem::file_size(options_.model));
  const uint64_t header = all - data + kRecordBytes;
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

Search::Made Search::make(const std::string& name, const std::string& plan_text, const HeldOut& held_out,
                          const calibrate::Trials* trials) {
  write_file(plan_file(), plan_text);
  QuantizeOptions quantize;
  quantize.model = options_.model;
  quantize.output = file();
  quantize.source.plan = plan_file();
  quantize.calibrate = options_.text.file;
  quantize.shaping.effort = options_.effort;
  quantize.shaping.ctx_size = options_.text.ctx_size;
  quantize.shaping.chunks = n_calibrating_;
  quantize.backend = options_.backend;
  quantize.memory = options_.memory;
  quantize.threads = options_.threads;
  quantize.restart = true;
  quantize.trials = trials;
  jobs::quantize(quantize, [this](const Progress& at) {
    if (progress_ && at.stage != "plan") progress_(at);
  });
  Made made{name, plan_text, {}, 0, 0, held_out.measure(file())};
  const gguf::Reader reader(file(), gguf::ReadMode::kHeader);
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    made.types[tensor.name] = tensor.type;
    made.bytes += tensor.n_bytes;
  }
  made.header_bytes = std::filesystem::file_size(file()) - made.bytes;
  const evaluate::MeanEstimate difference =
      made_.empty() ? evaluate::MeanEstimate() : paired_difference(made.figures, made_.front().figures);
  result_.measured.push_back({.plan = name,
                              .bytes = made.bytes,
                              .divergence = made.figures.mean_divergence(),
                              .same_top = evaluate::mean_estimate(made.figures.same_top).mean,
                              .difference = difference.mean,
                              .standard_error = difference.standard_error});
  if (progress_) progress_({.stage = "measure", .data = to_json(result_.measured.back()), .item = name});
  return made;
}

// The header of a file is that of the first with another plan in it.
search::Types Search::allocate(const SearchSignals& signals) {
  const Made& start = made_.front();
  uint64_t fixed = start.bytes;
  for (const search::TensorDamage& tensor : signals.damages()) {
    const auto found = std::ranges::find(tensor.types, start.types.at(tensor.tensor), &search::Damage::type);
    fixed -= found->bytes;
  }
  const uint64_t other = start.header_bytes - start.text.size() + kRecordVaries;
  search::Types types;
  for (uint64_t plan_bytes = start.text.size();;) {
    if (options_.size > 0) result_.budget = options_.size - std::min(options_.size, other + plan_bytes);
    if (result_.budget <= fixed)
      fail("", "tensors that have one type only need {} bytes, {} may be used", fixed, result_.budget);
    types = allocate_types(signals.damages(), start.types, result_.budget - fixed);
    const uint64_t now = text_of(types, signals).size();
    if (options_.size == 0 || now <= plan_bytes) return types;
    plan_bytes = now + kRecordVaries;
  }
}

std::string Search::text_of(const search::Types& types, const SearchSignals& signals) const {
  search::PlanNotes notes;
  notes.head = "found by `steelyard search`";
  // Shares of the root add up to it.
  const double jumps = divergence(signals.damages(), types).jumps;
  for (const search::TensorDamage& tensor : signals.damages()) {
    const auto found = std::ranges::find(tensor.types, types.at(tensor.tensor), &search::Damage::type);
    notes.losses[tensor.tensor] = found->smooth + (jumps > 0 ? found->jumps / jumps : 0);
  }
  return search::plan_text(source_.tensors(), types, notes);
}

// Jumps of several layers meet each other, and hidden states that are off already: what the best file loses beyond its
// smooth losses, over what was estimated. A preset may have types that were not tried.
double Search::fit_jumps(const std::vector<search::TensorDamage>& damages) const {
  const Made* best = nullptr;
  for (const Made& made : made_) {
    if (made.is_preset) continue;
    if (best == nullptr || made.figures.mean_divergence() < best->figures.mean_divergence()) best = &made;
  }
  const search::Divergence estimated = divergence(damages, best->types);
  if (estimated.jumps == 0) return 1;
  return std::max(0.0, best->figures.mean_divergence() - estimated.smooth) / estimated.jumps;
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
  if (const uint64_t needed = data_bytes(start); needed > result_.budget)
    fail("", "the plan {} needs {} bytes of tensor data, {} may be used", result_.start, needed, result_.budget);

  SearchSignals signals(options_, source_, types_);
  if (progress_) progress_({.stage = "gradients", .item = "gradients"});
  signals.compute_gradients(calibration_chunks());
  const HeldOut held_out(options_, n_calibrating_, n_held_out_, options_.output + ".search.kld");
  made_.push_back(make("start", start.text(), held_out, &signals.trials()));
  if (!preset_name.empty() && !gives_the_same(preset, start)) {
    made_.push_back(make(preset_name, preset.text(), held_out, nullptr));
    made_.back().is_preset = true;
  }
  if (progress_) progress_({.stage = "probe", .item = "probes"});
  signals.probe(*evaluate::DivergenceBase::open(options_.output + ".search.kld"));

  for (int64_t round = 1; round <= options_.rounds; ++round) {
    signals.scale_jumps(fit_jumps(signals.damages()));
    const search::Types types = allocate(signals);
    if (std::ranges::any_of(made_, [&](const Made& made) { return made.types == types; })) break;
    made_.push_back(make(fmt::format("proposal {}", round), text_of(types, signals), held_out, nullptr));
  }
  size_t best = 0;
  for (size_t i = 1; i < made_.size(); ++i) {
    const evaluate::MeanEstimate gain = paired_difference(made_[i].figures, made_.front().figures);
    if (gain.mean + kOnePercent * gain.standard_error < 0 &&
        made_[i].figures.mean_divergence() < made_[best].figures.mean_divergence())
      best = i;
  }
  write_file(options_.output, made_[best].text);
  result_.chosen = made_[best].name;
  result_.bytes = made_[best].bytes;
  for (const search::TensorDamage& tensor : signals.damages())
    for (const search::Damage& damage : tensor.types)
      result_.sensitivities.push_back({.tensor = tensor.tensor,
                                       .type = std::string(format(damage.type).name),
                                       .bytes = damage.bytes,
                                       .smooth = damage.smooth,
                                       .jumps = damage.jumps});
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

SearchResult search(const SearchOptions& options, const ProgressCallback& progress) {
  options.check();
  use_threads(options.threads);
  check_output(options.output, {options.model, options.text.file, options.source.plan});
  return Search(options, progress).run();
}

}  // namespace steelyard::jobs
