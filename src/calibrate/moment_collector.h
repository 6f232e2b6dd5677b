// The observer that collects second moments: for every linear of a layer the sum of x x^T over its inputs, for routed
// experts one sum for each expert. Linears that read the same input share one sum. Error feedback is made from them
// (quantize/feedback.h); they are as large as the square of a layer's width, so they live as long as their layer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compute/observer.h"

namespace steelyard {

/// Sums of x x^T [n_slices, n, n] and how many inputs each has; slices are experts or heads.
struct SecondMoments {
  int64_t n = 0;
  int64_t n_slices = 1;
  std::vector<float> sums;
  std::vector<int64_t> counts;

  const float* slice(int64_t s) const { return sums.data() + s * n * n; }
};

class MomentCollector : public MatmulObserver {
 public:
  void dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) override;
  void experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) override;

  /// What was collected, by the name of the weight; weights that share an input share the moments.
  std::map<std::string, std::shared_ptr<const SecondMoments>> take(Backend& backend);

 private:
  struct Input {
    int64_t n = 0;
    int64_t n_slices = 1;
    Buffer sums;                  // float [n_slices, n, n]
    Buffer counts;                // int64 [n_slices]: routed experts
    std::vector<int64_t> tokens;  // [n_slices]: others
    std::string owner;            // the weight through which the input is counted
    const float* last = nullptr;  // where the input lay when it was last counted
  };

  Input* count_here(Backend& backend, const Weight& weight, int64_t n_slices, Matrix x);

  std::map<std::string, std::shared_ptr<Input>> inputs_;
};

}  // namespace steelyard
