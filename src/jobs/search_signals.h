// What a search knows of the tensors of a model: what each loses in each type, and what that does to the model's output
// (search/loss_model.h). Gradients first; then the start plan is calibrated, which rounds every tensor in all types on
// the way, and with experts a few probes say how much their choice suffers. All of it is kept in the search's state,
// and what is there already is not done again.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/calibrated_layers.h"
#include "evaluate/divergence_base.h"
#include "imatrix/imatrix.h"
#include "jobs/search.h"
#include "jobs/search_probe.h"
#include "jobs/search_state.h"
#include "quantize/hessian_estimate.h"
#include "search/loss_model.h"

namespace steelyard::jobs {

class SearchSignals {
 public:
  /// All outlive it. start: the plan that is calibrated. types: candidates. imatrix: what files are quantized with, or
  /// null where they are calibrated.
  SearchSignals(const SearchOptions& options, const gguf::Source& source, const plan::Resolution& start,
                const std::vector<formats::Type>& types, const imatrix::Imatrix* imatrix, SearchState& state);

  /// Runs the chunks through the model and back. Error for a model without a backward pass.
  void compute_gradients(const tokenizer::Chunks& chunks);
  /// To be given to the calibration of the start plan, which then fills the state's in_layers. base: of held-out
  /// chunks.
  const calibrate::Trials& trials(const evaluate::DivergenceBase& base);
  /// Measures the tensors outside of layers in all types, that of the start plan too.
  void probe_outside(const evaluate::DivergenceBase& base);

  /// Of what the state has, in the order of names.
  std::vector<search::TensorDamage> damages() const;

 private:
  std::optional<calibrate::ErrorSample> sample(const plan::Decision& decision) const;
  void hear(const plan::Decision& decision, const calibrate::RoundedTensor& rounded);
  void heard(const std::string& tensor);
  bool has_importance(const plan::Decision& decision) const;
  schedule::SweepOptions sweep_options(int64_t n_ctx) const;
  std::vector<std::byte> round(const plan::Decision& decision) const;

  const SearchOptions& options_;
  const gguf::Source& source_;
  const plan::Resolution& start_;
  const imatrix::Imatrix* imatrix_;
  SearchState& state_;
  const formats::Type low_;  // that probes round to
  const bool has_experts_;
  std::optional<quantize::HessianEstimates> inputs_;  // of an imatrix, with the best effort
  calibrate::Trials trials_;
  int64_t n_calibrating_ = 0;  // chunks
  std::map<std::string, std::vector<double>> curvatures_;
  std::unique_ptr<SearchProbe> probe_;  // of tensors in layers, then outside
  // Of the tensor that is heard.
  SavedTensor now_;
  std::vector<std::byte> low_bytes_;
};

}  // namespace steelyard::jobs
