// What an error at the output of each linear does to the model's output. The KL divergence of a slightly wrong model is
// ½ E[(g·δ)²] for an error δ of a linear's outputs: g is the gradient of -log p(label) there, with labels drawn from
// the model itself, so that the expectation is the Fisher information (Martens, Grosse 2015, "Optimizing Neural
// Networks with Kronecker-factored Approximate Curvature"). Errors of rounding point anywhere, so the mean of g² over
// outputs stands for all directions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "schedule/gradient_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

class OutputGradients : public compute::GradientObserver {
 public:
  /// Runs the text through `model`, which is bound to `tape`, and back. seed: of the labels.
  OutputGradients(const model::Model& model, compute::GradientTape& tape, const tokenizer::Chunks& chunks,
                  const schedule::SweepOptions& sweep, uint64_t seed);

  /// By slice (expert, head) of a linear [n_slices]: what a mean squared error of 1 per output adds to the divergence,
  /// in nats per position. Empty for what is no linear.
  std::vector<double> curvature(const std::string& weight) const;

  void product(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix dz,
               const compute::Routing* routing) override;

 private:
  int64_t n_positions_;
  std::map<std::string, std::vector<double>> curvatures_;
};

}  // namespace steelyard::calibrate
