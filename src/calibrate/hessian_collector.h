// The observer that collects Hessians: for every linear of a layer the sum of x x^T over its inputs, for routed experts
// one sum per expert. Linears that read the same input share one sum. With an InputRecorder, which has the linear's
// inputs y in the original model, it also collects the cross-covariance, the sum of (y - x) x^T: how far earlier
// quantization has moved the input. Error feedback uses both (quantize/ldlq.h). They are as large as the square of
// a layer's width, so they live only as long as their layer.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calibrate/input_recorder.h"

namespace steelyard::calibrate {

/// Sums over the inputs of a linear, [n_slices, n, n]; slices are experts or heads.
struct HessianSums {
  int64_t n = 0;
  int64_t n_slices = 1;
  std::vector<int64_t> counts;          ///< inputs of each slice
  std::vector<float> sums;              ///< of x x^T
  std::vector<float> cross_covariance;  ///< of (y - x) x^T, as [y][x]; empty where y was not known
};

class HessianCollector : public compute::MatmulObserver {
 public:
  /// Observes these weights, or all if no names are given. `originals` has recorded the same batch before the collector
  /// sees it. An expert's input whose token went elsewhere in the original model counts as unchanged.
  explicit HessianCollector(std::set<std::string> weights = {}, InputRecorder* originals = nullptr)
      : weights_(std::move(weights)), originals_(originals) {}

  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override;
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override;

  /// The collected sums by name of the weight. Weights that share an input share the sums.
  std::map<std::string, std::shared_ptr<const HessianSums>> take(compute::Backend& backend);

 private:
  struct Input {
    int64_t n = 0;
    int64_t n_slices = 1;
    compute::Buffer sums, cross_covariance;  // float [n_slices, n, n]; no cross_covariance without originals
    compute::Buffer counts;                  // int64 [n_slices]: routed experts
    std::vector<int64_t> tokens;             // [n_slices]: others
    std::string owner;                       // the weight through which the input is counted
    const float* last = nullptr;             // where the input lay when it was last counted
  };

  Input* count_here(compute::Backend& backend, const compute::Weight& weight, int64_t n_slices, compute::Matrix x);

  std::set<std::string> weights_;
  InputRecorder* originals_;
  std::map<std::string, std::shared_ptr<Input>> inputs_;
};

}  // namespace steelyard::calibrate
