// The search of encoders whose codewords hold several magnitudes (signs are stored apart, so only |x| matters).
//
// For one vector x with weights w, the codeword g under scale s has the error  const - 2 s xg + s^2 gg  with
// xg = sum w |x| g and gg = sum w g^2. Neither sum depends on the scale, and error / s is a straight line in s. So the
// best codewords for all scales together are the lower envelope of straight lines, that is the upper hull of the points
// (gg, xg): some ten codewords of a thousand. Once it is known, every further scale costs a few additions, and no
// codeword is lost to pruning.
//
// Codewords lie in the SIMD lanes; the values of one codeword are summed in order. Ties go to the lowest codeword.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/half.h"
#include "formats/encoder.h"
#include "formats/lanes.h"

namespace steelyard {

/// The codewords in the order in which vector lanes want them. The first one must hold the smallest
/// magnitude everywhere.
class Codebook {
 public:
  static constexpr int kMaxSize = 1024;

  /// `words`: `size` codewords (a multiple of 16), magnitude j in byte j.
  template <class Word>
  Codebook(const Word* words, int size) : size_(size), dim_(sizeof(Word)) {
    static_assert(sizeof(Word) == 4 || sizeof(Word) == 8);
    for (int c = 0; c < size; ++c) {
      for (int j = 0; j < dim_; ++j) values_[at(c, j)] = static_cast<float>((words[c] >> (8 * j)) & 0xFF);
    }
  }

  int size() const { return size_; }
  int dim() const { return dim_; }
  float value(uint32_t codeword, int j) const { return values_[at(static_cast<int>(codeword), j)]; }

  /// xg and gg of all codewords. x: [dim], magnitudes; w: [dim].
  void sums(const float* x, const float* w, float* xg, float* gg) const;

  /// The codeword of least error for the magnitudes of x [dim] under `scale` >= 0.
  uint32_t nearest(const float* x, const float* w, float scale) const;

 private:
  /// kLanes neighbours side by side, for one value after the other.
  int at(int codeword, int j) const { return (codeword / kLanes * dim_ + j) * kLanes + codeword % kLanes; }

  int size_;
  int dim_;
  alignas(64) float values_[kMaxSize * kMaxJoint] = {};
};

/// Scales of 4 bits under one half: sub-block b of a block of 256 has the scale d * unit * (2 * step[b] + 1).
struct SteppedScales {
  static constexpr int kMaxSubBlocks = 16;
  static constexpr int kSteps = 16;
  Half d;
  uint8_t step[kMaxSubBlocks];
};

/// The best scales for a block of kMaxBlockLen values in `n_sub_blocks` sub-blocks.
SteppedScales search_stepped_scales(const Codebook& codebook, const float* x, const float* w, int n_sub_blocks,
                                    double unit);

/// Better scales for given levels q [kMaxBlockLen] (signed magnitudes), or the same.
void refit_stepped_scales(const float* x, const float* w, const float* q, int n_sub_blocks, double unit,
                          SteppedScales& scales);

}  // namespace steelyard
