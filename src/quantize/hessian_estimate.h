// Estimates the Hessian of a matrix's inputs from other weights, where only each column's mean square was measured.
//
// Rounding with error feedback (quantize/ldlq.h) needs H, the mean of x x^T. An importance matrix is its diagonal.
// The correlations of the columns are estimated from other weights, in one of two ways:
//
//   Consumers. A gradient of a linear is a sum of its inputs. So training moves a matrix towards the directions of its
//   inputs. Matrices that read the same input for different purposes have little in common but that input. So the
//   correlations of the columns, over the rows of all of them, stand for those of the input. One matrix alone says
//   as much about its outputs, and is not used.
//
//   Producers. ffn_down reads act(gate x) * (up x). Two of its columns correlate as far as their rows of gate are alike
//   and their rows of up are: for x without direction, the product of both correlations.
//
// No text is needed. docs/results/input-estimate.md has what the estimates gain. Called by quantize(), at --effort
// best.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "gguf/source.h"
#include "imatrix/imatrix.h"
#include "plan/resolve.h"

namespace steelyard::quantize {

/// Which matrices the correlations come from; exactly one of the two lists is not empty. The matrices have as many
/// slices (experts, heads) as those that read the input.
struct HessianEstimate {
  const gguf::Source& source;
  std::vector<const gguf::TensorInfo*> consumers = {};  ///< two or more, of n columns each
  std::vector<const gguf::TensorInfo*> producers = {};  ///< gate and up, of n rows each

  /// Damping: part of its own diagonal that is added to H (docs/results/input-estimate.md).
  double damping() const { return producers.empty() ? 0.5 : 1.0; }

  /// H [n, n] of a slice; importance: its diagonal [n]. The same for any number of threads; parallel inside. Not finite
  /// where a weight is not.
  std::vector<float> hessian(int64_t slice, const std::vector<float>& importance) const;
};

class HessianEstimates {
 public:
  /// Tensors of a block whose importance entries are equal read the same input. All arguments must outlive this.
  HessianEstimates(const gguf::Source& source, const plan::Resolution& resolution, const imatrix::Imatrix& imatrix);

  /// The estimate for this tensor's input; null where there is none.
  const HessianEstimate* find(const gguf::TensorInfo& tensor) const;

 private:
  std::map<const gguf::TensorInfo*, std::shared_ptr<const HessianEstimate>> estimates_;
};

}  // namespace steelyard::quantize
