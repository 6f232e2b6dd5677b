#include "jobs/search_signals.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <utility>

#include "base/memory.h"
#include "base/parallel.h"
#include "calibrate/output_gradients.h"
#include "compute/backends.h"
#include "evaluate/sweep_divergence.h"
#include "model/architecture.h"

namespace steelyard::jobs {
namespace {

// Tokens that pass a layer together.
constexpr int64_t kBatch = 2048;
// What all probes cost together, in passes of the calibration text.
constexpr int64_t kProbePasses = 4;

double bits(formats::Type type) { return 8.0 * format(type).block_bytes / format(type).block_len; }

// Far enough down that choices of experts change visibly, and near enough that a layer still works.
formats::Type probe_type(const std::vector<formats::Type>& types) {
  constexpr double kBits = 2.56;
  return *std::ranges::min_element(types, {}, [](formats::Type type) { return std::abs(bits(type) - kBits); });
}

std::string folder_of(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

schedule::SweepOptions sweep_options(const SearchOptions& options, int64_t n_ctx) {
  schedule::SweepOptions sweep{.n_batch = std::max(kBatch, n_ctx)};
  sweep.hidden_state_bytes = usable_memory(options.memory) / 4;
  sweep.scratch_folder = folder_of(options.output);
  return sweep;
}

bool has_experts(const model::ModelConfig& config) {
  return std::ranges::any_of(config.layers, [](const auto& layer) { return layer.ffn.n_expert > 0; });
}

// A model with some tensors in other types, measured on the chunks of a base.
class ProbedModel {
 public:
  ProbedModel(const SearchOptions& options, const gguf::Reader& source, const evaluate::DivergenceBase& base,
              int64_t n_chunks)
      : base_(base),
        backend_(compute::make_backend(options.backend)),
        tape_(*backend_),
        model_(source, tape_, {}, &loaded_),
        chunks_(base.tokens(), base.n_ctx(), n_chunks, chunk_bos(tokenizer::Tokenizer(source.metadata())), base.path()),
        sweep_(
            model_, tape_, base.n_ctx(), {base.first_scored(), base.n_scored()},
            [this](int64_t chunk) { return chunks_.input(chunk); }, sweep_options(options, base.n_ctx()), &loaded_) {}

  // With these bytes in the place of a tensor's own.
  double divergence(const std::string& tensor, formats::Type type, const std::vector<std::byte>& bytes) {
    if (!bound_) static_cast<void>(pass());  // binds all weights
    bound_ = true;
    compute::Weight& weight = loaded_.weights.at(tensor);
    compute::Weight host = weight;
    host.format = &format(type);
    host.data = bytes.data();
    host.memory = nullptr;
    const compute::Weight own = std::exchange(weight, backend_->load(std::move(host)));
    const double mean = pass();
    weight = own;
    return mean;
  }

 private:
  double pass() {
    std::vector<int64_t> all(static_cast<size_t>(chunks_.count()));
    std::iota(all.begin(), all.end(), 0);
    return evaluate::sweep_divergence(sweep_, chunks_, base_, all);
  }

  const evaluate::DivergenceBase& base_;
  const std::unique_ptr<compute::Backend> backend_;
  compute::GradientTape tape_;
  model::LoadedTensors loaded_;
  const model::Model model_;
  const tokenizer::Chunks chunks_;
  schedule::GradientSweep sweep_;
  bool bound_ = false;
};

}  // namespace

SearchSignals::SearchSignals(const SearchOptions& options, const gguf::Reader& source,
                             const std::vector<formats::Type>& types)
    : options_(options), source_(source), low_(probe_type(types)), scratch_(folder_of(options.output)) {
  for (const formats::Type type : types)
    trials_.resolutions.push_back(resolve(plan::Plan::uniform(type), source.tensors()));
  trials_.hear = [this](const plan::Decision& decision, const calibrate::RoundedTensor& rounded) {
    hear(decision, rounded);
  };
}

void SearchSignals::compute_gradients(const tokenizer::Chunks& chunks) {
  n_calibrating_ = chunks.count();
  const auto backend = compute::make_backend(options_.backend);
  compute::GradientTape tape(*backend);
  const model::Model model(source_, tape);
  const calibrate::OutputGradients gradients(model, tape, chunks, sweep_options(options_, chunks.n_ctx()), /*seed=*/0);
  for (const gguf::TensorInfo& tensor : source_.tensors()) {
    if (auto curvature = gradients.curvature(tensor.name); !curvature.empty())
      curvatures_.emplace(tensor.name, std::move(curvature));
  }
}

void SearchSignals::hear(const plan::Decision& decision, const calibrate::RoundedTensor& rounded) {
  const std::string& name = decision.tensor->name;
  const auto curvature = curvatures_.find(name);
  if (curvature == curvatures_.end()) return;  // no linear
  double loss = 0;
  for (size_t s = 0; s < rounded.error.size(); ++s) loss += curvature->second[s] * rounded.error[s];
  if (damages_.empty() || damages_.back().tensor != name) damages_.push_back({name, {}});
  damages_.back().types.push_back({decision.type, decision.bytes, loss, 0});
  if (decision.type != plan::storable(low_, *decision.tensor)) return;
  scratch_.write_at(n_scratch_, rounded.bytes);
  rounded_[name] = {decision.type, n_scratch_, rounded.bytes.size()};
  n_scratch_ += rounded.bytes.size();
}

void SearchSignals::probe(const evaluate::DivergenceBase& base) {
  // Errors are known up to what no rounding of a tensor can change, which the best type has nearly none beside.
  for (search::TensorDamage& tensor : damages_) {
    const double least = std::ranges::min_element(tensor.types, {}, &search::Damage::smooth)->smooth;
    for (search::Damage& damage : tensor.types) damage.smooth -= least;
  }
  if (!has_experts(model::read_config(source_.metadata()))) return;
  const int64_t n_chunks =
      std::clamp<int64_t>(kProbePasses * n_calibrating_ / std::ssize(damages_), 1, base.n_chunks());
  ProbedModel probed(options_, source_, base, n_chunks);
  for (search::TensorDamage& tensor : damages_) {
    const Rounded& at = rounded_.at(tensor.tensor);
    std::vector<std::byte> bytes(at.n_bytes);
    scratch_.read_at(at.offset, bytes);
    const double smooth = std::ranges::find(tensor.types, at.type, &search::Damage::type)->smooth;
    const double jump = std::max(0.0, probed.divergence(tensor.tensor, at.type, bytes) - smooth);
    for (search::Damage& damage : tensor.types) damage.jumps = smooth > 0 ? jump * jump * damage.smooth / smooth : 0;
  }
}

void SearchSignals::scale_jumps(double factor) {
  for (search::TensorDamage& tensor : damages_)
    for (search::Damage& damage : tensor.types) damage.jumps *= factor * factor;
}

}  // namespace steelyard::jobs
