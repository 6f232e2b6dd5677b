#include "jobs/search_files.h"

#include <re2/re2.h>

#include <algorithm>
#include <exception>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/memory.h"
#include "base/output_target.h"
#include "base/sha256.h"
#include "base/temporary_file.h"
#include "gguf/reader.h"
#include "jobs/quantize.h"

namespace steelyard::jobs {
namespace {

constexpr const char* kSuffix = ".search.";  // of all files beside the output

// The names that a search writes under after "OUT.search.": a base, a plan, files by the hash of their plan, and what
// these have while they are written. Others that begin alike are the user's.
bool is_ours(const std::string& name) {
  static const re2::RE2 ours(
      R"((kld|plan|lock|text|[0-9a-f]{8}\.gguf)(\.partial|\.journal|\.text)?(\.[0-9a-f]+\.tmp)?)");
  return re2::RE2::FullMatch(name, ours);
}

// Those of one kind ("1f2e3d4c.gguf"), or all.
void remove_files(const std::string& output, const std::string& kind = "") {
  const std::filesystem::path path = output + kSuffix;
  const std::string prefix = path.filename().string();
  std::error_code ignored;
  std::vector<std::filesystem::path> found;
  for (const auto& entry :
       std::filesystem::directory_iterator(path.has_parent_path() ? path.parent_path() : ".", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix + kind) && is_ours(name.substr(prefix.size()))) found.push_back(entry.path());
  }
  // A journal vouches for a file, so it goes first.
  std::partition(found.begin(), found.end(),
                 [](const std::filesystem::path& file) { return file.extension() == ".journal"; });
  for (const std::filesystem::path& file : found) TemporaryFile(file).remove();
}

std::string name_of(const std::string& plan) { return sha256(plan).substr(0, 8) + ".gguf"; }

}  // namespace

SearchFiles::SearchFiles(const SearchOptions& options, const gguf::Source& source, int64_t n_calibrating,
                         int64_t n_held_out, SearchState& state, const ProgressCallback& progress)
    : options_(options),
      source_(source),
      n_calibrating_(n_calibrating),
      state_(state),
      progress_(progress),
      exceptions_(std::uncaught_exceptions()),
      lock_(name_beside(options.output, kSuffix + std::string("lock")), options.output),
      held_out_(options, n_calibrating, n_held_out, name_beside(options.output, kSuffix + std::string("kld"))),
      base_(evaluate::DivergenceBase::open(name_beside(options.output, kSuffix + std::string("kld")))) {}

SearchFiles::~SearchFiles() {
  if (!state_.is_kept() || std::uncaught_exceptions() == exceptions_) remove_files(options_.output);
}

// By the plan, so that an interrupted file is only gone on with by the same.
std::string SearchFiles::path(const std::string& plan) const {
  return name_beside(options_.output, kSuffix + name_of(plan));
}

void SearchFiles::quantize(const std::string& plan, bool calibrate, const calibrate::Trials* trials) {
  const std::string plan_file = name_beside(options_.output, kSuffix + std::string("plan"));
  if (!state_.is_kept()) {
    for (const std::string& name : {plan_file, path(plan), path(plan) + ".partial", path(plan) + ".journal"}) {
      made_.emplace_back(name);
    }
  }
  write_file(plan_file, plan);
  QuantizeOptions quantize;
  quantize.model = options_.model;
  quantize.output = path(plan);
  quantize.source.plan = plan_file;
  quantize.shaping = options_.shaping();
  if (calibrate) {
    quantize.calibrate = options_.text.file;
    quantize.shaping.chunks = n_calibrating_;
    // A quarter is for the hidden states of probes.
    quantize.memory = trials != nullptr ? usable_memory(options_.memory) / 4 * 3 : options_.memory;
  } else {
    quantize.imatrix = options_.imatrix;
    quantize.shaping.ctx_size = ShapingOptions().ctx_size;  // of calibration
  }
  quantize.backend = {options_.backend};
  quantize.threads = options_.threads;
  quantize.resume = state_.is_kept();
  quantize.restart = !quantize.resume;
  quantize.trials = trials;
  jobs::quantize(quantize, [this](const Progress& at) {
    if (progress_ && at.stage != "plan") progress_(at);
  });
}

void SearchFiles::forget(const std::string& plan) const { remove_files(options_.output, name_of(plan)); }

void SearchFiles::try_types(const std::string& plan, const calibrate::Trials& trials) {
  quantize(plan, /*calibrate=*/true, &trials);
  tried_ = path(plan);
  if (!options_.imatrix.empty()) remove_file(tried_);
}

MadeFile SearchFiles::make(const std::string& name, const std::string& plan) {
  auto saved = std::ranges::find(state_.files, plan, &SavedFile::plan);
  report::DivergenceDetails details;
  if (saved == state_.files.end()) {
    const std::string file = path(plan);
    if (file != tried_ || !std::filesystem::exists(file)) quantize(plan, options_.imatrix.empty(), nullptr);
    const ChunkFigures figures = held_out_.measure(file);
    details = figures.details;
    const gguf::Reader reader(file, gguf::ReadMode::kHeader);
    uint64_t header_bytes = std::filesystem::file_size(file);
    for (const gguf::TensorInfo& tensor : reader.tensors()) header_bytes -= tensor.n_bytes;
    state_.files.push_back({plan, header_bytes, figures.divergence, figures.same_top});
    state_.save();
    remove_file(file);
    saved = std::prev(state_.files.end());
  }
  MadeFile made{.name = name, .plan = plan, .header_bytes = saved->header_bytes};
  made.figures = {saved->divergence, saved->same_top, std::move(details)};
  const plan::Resolution resolution = resolve(plan::Plan::parse(plan, name), source_.tensors(),
                                              plan::model_facts(source_.metadata(), !options_.imatrix.empty()));
  for (const plan::Decision& decision : resolution.decisions) made.types[decision.tensor->name] = decision.type;
  made.bytes = resolution.total_bytes;
  return made;
}

}  // namespace steelyard::jobs
