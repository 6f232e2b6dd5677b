// What error feedback needs of a Hessian H, whatever the type that rows are rounded to: its factor R, H = R R^T, and H
// itself, both as kernels read them. Made once for all matrices that read the same inputs. Making it takes n^3 / 3
// multiplications and, at its peak, kPeakBytes for each of the n^2 values beside H. Used by quantize/ldlq.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace steelyard::quantize {

class HessianFactor {
 public:
  static constexpr uint64_t kPeakBytes = 16, kBytes = 8;  ///< while it is made, and afterwards

  /// `hessian`: H [n, n], symmetric, n a multiple of kPanelStep; a part of its diagonal, `damping`, is added to it.
  /// Returns nothing where H cannot be used: it holds no data or non-finite values, or is not positive definite after
  /// damping. The same for any number of threads. Parallel inside.
  static std::shared_ptr<const HessianFactor> make(int64_t n, const float* hessian, double damping);

  int64_t n() const { return n_; }
  const float* factor() const { return factor_.data(); }    ///< R [n, n] in panels (formats/ldlq_inputs.h)
  const float* hessian() const { return hessian_.data(); }  ///< H, damped, [n, n] in panels

  /// Of the groups of `vector_dim` columns: the diagonals [n] of R_BB R_BB^T, and the inverses [n / vector_dim,
  /// vector_dim, vector_dim] of H_BB.
  std::vector<float> weights(int vector_dim) const;
  std::vector<float> inverses(int vector_dim) const;

 private:
  explicit HessianFactor(int64_t n) : n_(n) {}

  int64_t n_;
  std::vector<float> factor_, hessian_;
  std::vector<double> diagonal_;  // [n / kMaxVectorDim, kMaxVectorDim, kMaxVectorDim]: blocks of H
};

}  // namespace steelyard::quantize
