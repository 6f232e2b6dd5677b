// What a search knows of the tensors of a model: what each loses in each type, and what that does to the model's output
// (search/loss_model.h). Gradients first; then the start plan is calibrated, which rounds every tensor in all types on
// the way; then a few probes say how much the choices of experts suffer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/scratch_file.h"
#include "calibrate/calibrated_layers.h"
#include "evaluate/divergence_base.h"
#include "jobs/search.h"
#include "search/loss_model.h"

namespace steelyard::jobs {

class SearchSignals {
 public:
  /// All outlive it. types: candidates.
  SearchSignals(const SearchOptions& options, const gguf::Reader& source, const std::vector<formats::Type>& types);

  /// Runs the chunks through the model and back. Error for a model without a backward pass.
  void compute_gradients(const tokenizer::Chunks& chunks);
  /// To be given to the calibration. Outlived by this.
  const calibrate::Trials& trials() const { return trials_; }
  /// After the calibration: measures the model with one tensor after the other in a low type, and what is more than its
  /// smooth loss. Nothing to measure without experts.
  void probe(const evaluate::DivergenceBase& base);

  /// Multiplies all jumps (before they are squared).
  void scale_jumps(double factor);

  const std::vector<search::TensorDamage>& damages() const { return damages_; }

 private:
  struct Rounded {
    formats::Type type;
    uint64_t offset, n_bytes;
  };
  void hear(const plan::Decision& decision, const calibrate::RoundedTensor& rounded);

  const SearchOptions& options_;
  const gguf::Reader& source_;
  formats::Type low_;  // that probes round to
  calibrate::Trials trials_;
  int64_t n_calibrating_ = 0;  // chunks
  std::map<std::string, std::vector<double>> curvatures_;
  std::vector<search::TensorDamage> damages_;
  ScratchFile scratch_;  // the bytes of tensors in the low type
  uint64_t n_scratch_ = 0;
  std::map<std::string, Rounded> rounded_;
};

}  // namespace steelyard::jobs
