// The observer that collects Hessians: for every linear of a layer the sum of x x^T over its inputs, for routed experts
// one sum per expert. Linears that read the same input share one sum. With an InputRecorder, which has the linear's
// inputs y in the original model, it also collects the cross-covariance, the sum of (y - x) x^T: how far earlier
// quantization has moved the input. Error feedback uses both (quantize/ldlq.h). They are as large as the square of
// a layer's width, so they live only as long as their layer; of routed experts, inputs may be kept in their place.
//
// Where devices compute different batches at the same time, each has a collector beside the first one. An input's sums
// are on one of the devices, and batches take turns to be added to them: so the sums are those of one device.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calibrate/batch_order.h"
#include "calibrate/stored_rows.h"

namespace steelyard::calibrate {

/// What limits the memory of what is collected.
struct CollectionSpace {
  std::shared_ptr<SpillSpace> memory = {};  ///< where it has to find room; null: wherever there is
  bool store_rows = false;                  ///< with `memory`: keep inputs of routed experts in place of their sums
  BackendPool* devices = nullptr;           ///< where sums are; null: where the inputs are, of one device or the host
  int rank = 0, n_ranks = 1;                ///< where slices are dealt out: sums are made of this rank's slices only
};

class HessianCollector : public compute::MatmulObserver {
 public:
  /// Observes these weights, or all if no names are given. `originals` has recorded the same batch before the collector
  /// sees it. An expert's input whose token went elsewhere in the original model counts as unchanged.
  explicit HessianCollector(std::set<std::string> weights = {}, InputRecorder* originals = nullptr,
                            CollectionSpace space = {});

  /// One more, for batches that pass at the same time: adds to the same sums. Each batch is announced before it passes;
  /// `order`, which is the same for all, outlives them.
  HessianCollector beside(InputRecorder* originals) const;
  void begin_batch(BatchOrder& order, int64_t batch) {
    order_ = &order;
    batch_ = batch;
  }

  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override;
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override;

  /// The collected sums by name of the weight. Weights that share an input share the sums.
  std::map<std::string, std::shared_ptr<const SliceHessians>> take(compute::Backend& backend);

  /// Seconds that threads have spent on sums and on what is stored for them.
  double seconds() const { return sums_->seconds; }

 private:
  struct Input {
    int64_t n = 0;
    int64_t n_slices = 1;
    size_t home = 0;                         // of the devices
    compute::Buffer sums, cross_covariance;  // float [n_slices, n, n]; no cross_covariance without originals
    compute::Buffer counts;                  // int64 [n_slices]: routed experts
    std::vector<int64_t> tokens;             // [n_slices]: others
    std::shared_ptr<StoredRows> rows;        // in place of all of these
    std::string owner;                       // the weight through which the input is counted
    const float* last = nullptr;             // where the input lay when the first batch showed it last
    int owner_of_all = -1;                   // the rank that has the sums; -1: slices are dealt out in ranges
  };
  struct Sums {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<Input>> inputs;
    size_t n_homes = 0;
    std::vector<double> load;  // of each rank, by linears of one slice
    double seconds = 0;
  };
  class Turn;
  bool is_own(const Input& input, int64_t slice) const {
    return (input.owner_of_all >= 0
                ? input.owner_of_all
                : SliceHessians::owner_of_slice(slice, input.n_slices, space_.n_ranks)) == space_.rank;
  }

  bool wants(const compute::Weight& weight) const { return weights_.empty() || weights_.contains(weight.name); }
  Input* count_here(compute::Backend& backend, const compute::Weight& weight, bool routed, compute::Matrix x);
  void count_others(compute::Backend& backend, const compute::Routing& routing, Input& input) const;
  void store(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
             const compute::Routing& routing, StoredRows& rows);

  std::set<std::string> weights_;
  InputRecorder* originals_;
  CollectionSpace space_;
  std::shared_ptr<Sums> sums_;
  BatchOrder* order_ = nullptr;  // null: one batch at a time
  int64_t batch_ = 0;
};

}  // namespace steelyard::calibrate
