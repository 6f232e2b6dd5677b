// What weights say about the inputs of a matrix, where all that was measured of these is each column's mean square.
//
// Rounding with error feedback (quantize/feedback.h) wants H, the mean of x x^T. An importance matrix is its diagonal;
// how columns go together can be read off other weights, in two ways:
//
//   Readers. A gradient of a linear is a sum of its inputs, so what training has made of a matrix leans towards the
//   directions that they take. Matrices that read the same input, each for another purpose, agree in that and in little
//   else: the correlations of the columns over the rows of all of them stand for those of the input. One matrix alone
//   says as much about its outputs, and is not believed.
//
//   Makers. What ffn_down reads is act(gate x) * (up x). Two of its columns go together as far as their rows of gate
//   are alike and those of up are too: for x without direction the product of both correlations.
//
// Neither needs any text. docs/quantize.md has what they gain. Called by quantize(), at --effort best.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "gguf/reader.h"
#include "imatrix/imatrix.h"
#include "plan/resolve.h"

namespace steelyard {

/// Where the correlations of an input come from; exactly one of both is not empty. The matrices have as many slices
/// (experts, heads) as those that read the input.
struct InputEstimate {
  const gguf::Reader& source;
  std::vector<const gguf::TensorInfo*> readers = {};  ///< two or more, of n columns each
  std::vector<const gguf::TensorInfo*> makers = {};   ///< gate and up, of n rows each

  /// Part of its diagonal that is added to H; docs/quantize.md.
  double damping() const { return makers.empty() ? 0.5 : 1.0; }

  /// H [n, n] of a slice; importance: its diagonal [n]. The same for any number of threads; parallel inside. Not
  /// finite where a weight is not.
  std::vector<float> moments(int64_t slice, const std::vector<float>& importance) const;
};

class InputEstimates {
 public:
  /// Tensors of a block whose entries are equal read the same. All must outlive this.
  InputEstimates(const gguf::Reader& source, const Resolution& resolution, const Imatrix& imatrix);

  /// Of the input of this tensor; null where nothing is known.
  const InputEstimate* of(const gguf::TensorInfo& tensor) const;

 private:
  std::map<const gguf::TensorInfo*, std::shared_ptr<const InputEstimate>> of_;
};

}  // namespace steelyard
