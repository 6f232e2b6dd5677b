#include "jobs/search_probe.h"

#include <numeric>
#include <utility>
#include <vector>

#include "compute/backends.h"
#include "evaluate/sweep_divergence.h"
#include "jobs/model_options.h"
#include "schedule/gradient_sweep.h"

namespace steelyard::jobs {

SearchProbe::SearchProbe(const gguf::Source& source, const evaluate::DivergenceBase& base, int64_t n_chunks,
                         const std::string& backend, const schedule::SweepOptions& sweep)
    : source_(source),
      base_(base),
      backend_(compute::make_backend(backend)),
      tape_(*backend_),
      chunks_(base.tokens(), base.n_ctx(), n_chunks, chunk_bos(tokenizer::Tokenizer(source.metadata())), base.path()),
      sweep_(sweep),
      own_(pass()) {}

// The base is rounded, so the model itself has some divergence from it.
double SearchProbe::loss(const std::string& tensor, formats::Type type, const std::byte* bytes) {
  compute::Weight& weight = loaded_.weights.at(tensor);
  compute::Weight host = weight;
  host.format = &format(type);
  host.data = bytes;
  host.memory = nullptr;
  const compute::Weight own = std::exchange(weight, backend_->load(std::move(host)));
  const double mean = pass();
  weight = own;
  return mean - own_;
}

// The model is bound anew, so that tensors outside of layers may be others too.
double SearchProbe::pass() {
  const model::Model model(source_, tape_, {}, &loaded_);
  schedule::GradientSweep sweep(
      model, tape_, base_.n_ctx(), {base_.first_scored(), base_.n_scored()},
      [this](int64_t chunk) { return chunks_.input(chunk); }, sweep_, &loaded_);
  std::vector<int64_t> all(static_cast<size_t>(chunks_.count()));
  std::iota(all.begin(), all.end(), 0);
  return evaluate::sweep_divergence(sweep, chunks_, base_, all);
}

}  // namespace steelyard::jobs
