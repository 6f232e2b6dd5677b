// The observer that keeps the inputs of a layer's linears in one batch. Another pass of the same batch can then be
// compared with it: the quantized layer with the original one (hessian_collector.h).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compute/observer.h"

namespace steelyard::calibrate {

/// The input of a linear in one call, in host memory.
struct RecordedInput {
  /// Linears that read the same input share it.
  using Rows = std::shared_ptr<const std::vector<float>>;

  int64_t n_rows = 0;
  Rows rows;                       // [n_rows, n_in]
  std::vector<int32_t> token;      // [n_rows] of routed experts: whose row it is; else empty
  std::vector<int32_t> row_begin;  // [n_expert + 1]: where an expert's rows begin; tokens ascend within
};

/// x without gaps between rows, in host memory.
std::vector<float> host_copy(compute::Backend& backend, compute::Matrix x);
/// For a complete routing: token and row_begin of a RecordedInput.
void copy_rows_of_experts(compute::Backend& backend, const compute::Routing& routing, RecordedInput& to);

class InputRecorder : public compute::MatmulObserver {
 public:
  /// Records for these weights, or for all if no names are given.
  explicit InputRecorder(std::set<std::string> weights = {}) : weights_(std::move(weights)) {}

  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override;
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override;
  void end_batch(compute::Backend& /*backend*/, bool counts) override {
    if (!counts) clear();
  }

  void clear() {
    inputs_.clear();
    last_.reset();
  }
  /// The input of one slice of the weight in its first call that was not asked for yet; nothing when there is none.
  std::optional<RecordedInput> next(const std::string& weight, int64_t slice);

 private:
  RecordedInput record(compute::Backend& backend, compute::Matrix x);

  std::set<std::string> weights_;
  RecordedInput::Rows last_;
  std::map<std::pair<std::string, int64_t>, std::deque<RecordedInput>> inputs_;
};

}  // namespace steelyard::calibrate
