// The observer that makes an importance matrix: sums of squared inputs per column, per expert with counts, accumulated
// in F64 on the backend.
//
// Sums of one batch in one layer are kept apart until the sweep confirms the batch. So a text with non-finite numbers
// leaves no trace. Products that read the same input share them.
// leaves no trace. Products that read the same input share them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compute/observer.h"
#include "imatrix/imatrix.h"

namespace steelyard::calibrate {

class ImatrixCollector : public compute::MatmulObserver {
 public:
  /// with_output: also collect for output.weight (a tied token_embd never).
  explicit ImatrixCollector(bool with_output) : with_output_(with_output), sums_(std::make_shared<Sums>()) {}
  /// An observer that adds to the same sums, for a layer that is computed at the same time.
  ImatrixCollector with_shared_sums() const {
    ImatrixCollector other(with_output_);
    other.sums_ = sums_;
    return other;
  }

  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override;
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override;
  void end_batch(compute::Backend& backend, bool counts) override;

  /// Sums of all finished batches; may be replaced by those of an earlier run.
  std::map<std::string, imatrix::ImatrixEntry>& entries() { return sums_->entries; }

 private:
  struct Sums {
    std::map<std::string, imatrix::ImatrixEntry> entries;
    std::mutex adding;
  };
  // The sums of one input in the current batch.
  struct Input {
    const float* data = nullptr;       // where it was seen first
    std::vector<std::string> readers;  // names of the weights that read it
    int64_t n_in = 0;                  // columns of one row of sums
    int64_t n_expert = 1;              // rows
    int64_t tokens = 0;                // of an input that is not routed
    bool routed = false;
    compute::Backend* backend = nullptr;
    size_t bytes = 0;      // room in `sums`
    compute::Buffer sums;  // of the backend: double [n_expert, n_in], then int64 [n_expert] counts
  };

  bool wanted(const compute::Weight& weight) const;
  Input* input_of(compute::Backend& backend, const compute::Weight& weight, bool routed, compute::Matrix x);

  bool with_output_;
  std::shared_ptr<Sums> sums_;
  std::vector<Input> inputs_;  // the first n_inputs_ of the current batch; the others keep memory for later ones
  size_t n_inputs_ = 0;
  std::vector<std::byte> host_;
};

}  // namespace steelyard::calibrate
