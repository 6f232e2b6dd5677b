// What a layer's linears read in one batch, as a message: recorded by the rank that passes the batch through the layer,
// and shown to the observers of every rank in the order of batches (layer_sharing.h). So statistics are summed in the
// order of one process, whoever computed which batch.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "compute/observer.h"

namespace steelyard::calibrate {

class BatchRecord : public compute::MatmulObserver {
 public:
  /// Records for these weights.
  explicit BatchRecord(std::set<std::string> weights) : weights_(std::move(weights)) {}

  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override;
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override;
  void end_batch(compute::Backend& backend, bool counts) override;

  /// Appends what was recorded, and forgets it.
  void write(std::string& message);

 private:
  // Rows that one or several linears read. Of routed experts, a row that follows for the same token is kept once.
  struct Input {
    const float* data = nullptr;  // where it lay
    int64_t n_cols = 0;
    std::vector<float> rows;         // [n different, n_cols]
    std::vector<int32_t> row;        // [n_slots] of routed experts: the row that a slot reads
    std::vector<int32_t> token;      // [n_slots]
    std::vector<int32_t> row_begin;  // [n_expert + 1]
  };
  struct Call {
    std::string weight;
    int64_t n_out, n_slices, slice;
    size_t input;
  };
  void add(const compute::Weight& weight, int64_t slice, Input input);

  std::set<std::string> weights_;
  std::vector<Input> inputs_;
  std::vector<Call> calls_;
};

/// Shows the observer what a BatchRecord has written: the same calls, in their order. Inputs that were one have one
/// address.
void show_record(ByteReader& message, compute::Backend& backend, compute::MatmulObserver& observer);

}  // namespace steelyard::calibrate
