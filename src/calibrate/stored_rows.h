// The inputs of routed experts, kept until an expert's turn comes: an expert sees few of a text's tokens, and its
// inputs take less memory than the sums over them. Its sums are then made from the rows that were routed to it, batch
// by batch as they came, which gives the same sums as adding every batch at once.
//
// A row that several experts read is kept once, with the routing beside it. Rows lie in memory as far as a SpillSpace
// allows, and beyond that in its scratch file. Sums that were made stay in what is left of it, so that they need not be
// made again for the next tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/backend_pool.h"
#include "calibrate/input_recorder.h"
#include "calibrate/slice_hessians.h"
#include "calibrate/spill_space.h"

namespace steelyard::calibrate {

/// Inputs of experts in one batch.
struct RoutedRows {
  int64_t n_rows = 0;              ///< different ones
  std::vector<int32_t> row_begin;  ///< [n_expert + 1]: where the slots of an expert begin
  std::vector<int32_t> row;        ///< [n_slots]: the row that a slot reads
  std::vector<bool> has_drift;     ///< [n_slots]: else the input counts as unchanged
  std::vector<float> x, drift;     ///< [n_rows, n]: inputs, and how far they are from the original model's
};

/// Of inputs x whose row r is at x(r), in expert order. `original`: those of the same batch in the original model;
/// null: there are none. A slot whose token the original model sent elsewhere has no drift.
RoutedRows routed_rows(int64_t n, const std::function<const float*(int64_t r)>& x, const RecordedInput& routing,
                       const RecordedInput* original);

class StoredRows : public SliceHessians {
 public:
  /// with_drift: all batches have it. Sums are made on `devices`, or where that is null by `host`. Both outlive this.
  StoredRows(int64_t n, int64_t n_experts, bool with_drift, std::shared_ptr<SpillSpace> space, compute::Backend& host,
             BackendPool* devices = nullptr);
  ~StoredRows() override;

  void add(RoutedRows batch);
  SliceSums of_slice(int64_t slice) const override;
  int64_t n_together() const override { return devices_ != nullptr ? static_cast<int64_t>(devices_->size()) : 1; }

 private:
  struct Batch {
    RoutedRows rows;
    std::optional<uint64_t> spilled = {};  // where x lies in the scratch file, with `drift` behind it
  };
  void copy_rows(const Batch& batch, bool drift, int64_t row, int64_t n_rows, float* to) const;
  void gather(const Batch& batch, bool drift, int64_t begin, int64_t end, float* to) const;
  SliceSums make(int64_t slice) const;
  SliceSums make(int64_t slice, compute::Backend& backend, bool on_host) const;

  bool with_drift_;
  std::shared_ptr<SpillSpace> space_;
  compute::Backend& host_;
  BackendPool* devices_;
  std::vector<Batch> batches_;
  uint64_t reserved_ = 0;  // of the space, by rows
  mutable std::mutex mutex_;
  mutable std::vector<SliceSums> kept_;  // [n_slices], those that were made while there was space
};

}  // namespace steelyard::calibrate
