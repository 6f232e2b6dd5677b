// Measures what a model loses by one tensor alone in another type, on the held-out chunks of a search.
#pragma once

#include <memory>
#include <string>

#include "compute/backend.h"
#include "compute/gradient_tape.h"
#include "evaluate/divergence_base.h"
#include "gguf/source.h"
#include "model/model.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::jobs {

class SearchProbe {
 public:
  /// The first n_chunks of the base's text. `source` and `base` outlive it.
  SearchProbe(const gguf::Source& source, const evaluate::DivergenceBase& base, int64_t n_chunks,
              const std::string& backend, const schedule::SweepOptions& sweep);

  /// Nats per position with these bytes in the place of the tensor's own.
  double loss(const std::string& tensor, formats::Type type, const std::byte* bytes);

 private:
  double pass();

  const gguf::Source& source_;
  const evaluate::DivergenceBase& base_;
  const std::unique_ptr<compute::Backend> backend_;
  compute::GradientTape tape_;
  model::LoadedTensors loaded_ = {.embedding = true};  // all, after the first pass
  const tokenizer::Chunks chunks_;
  const schedule::SweepOptions sweep_;
  const double own_;
};

}  // namespace steelyard::jobs
