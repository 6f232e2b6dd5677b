// The observer that collects second moments: for every linear of a layer the sum of x x^T over its inputs, for routed
// experts one sum for each expert. Linears that read the same input share one sum. Beside an InputRecorder, which knows
// what the linear reads in the model as it is in the file, y, also the sum of (y - x) x^T: how far what was rounded
// before has moved the input. Error feedback is made from both (quantize/feedback.h); they are as large as the square
// of a layer's width, so they live as long as their layer.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calibrate/input_recorder.h"

namespace steelyard {

/// Sums over the inputs of a linear, [n_slices, n, n]; slices are experts or heads.
struct SecondMoments {
  int64_t n = 0;
  int64_t n_slices = 1;
  std::vector<int64_t> counts;  ///< inputs of each slice
  std::vector<float> sums;      ///< of x x^T
  std::vector<float> drift;     ///< of (y - x) x^T, as [y][x]; empty where y was not known
};

class MomentCollector : public MatmulObserver {
 public:
  /// Of these weights; without names of all. `originals` has recorded the same batch when the collector sees it; an
  /// expert's input whose token went elsewhere in the original model counts as if it had not moved.
  explicit MomentCollector(std::set<std::string> weights = {}, InputRecorder* originals = nullptr)
      : weights_(std::move(weights)), originals_(originals) {}

  void dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) override;
  void experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) override;

  /// What was collected, by the name of the weight; weights that share an input share the moments.
  std::map<std::string, std::shared_ptr<const SecondMoments>> take(Backend& backend);

 private:
  struct Input {
    int64_t n = 0;
    int64_t n_slices = 1;
    Buffer sums, drift;           // float [n_slices, n, n]; no drift without originals
    Buffer counts;                // int64 [n_slices]: routed experts
    std::vector<int64_t> tokens;  // [n_slices]: others
    std::string owner;            // the weight through which the input is counted
    const float* last = nullptr;  // where the input lay when it was last counted
  };

  Input* count_here(Backend& backend, const Weight& weight, int64_t n_slices, Matrix x);

  std::set<std::string> weights_;
  InputRecorder* originals_;
  std::map<std::string, std::shared_ptr<Input>> inputs_;
};

}  // namespace steelyard
