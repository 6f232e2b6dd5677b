// The values that a format codes jointly, as lines over the scale (codebook.h), signs and shifts included.
#pragma once

#include <bit>
#include <cstdint>

#include "formats/codebook.h"

namespace steelyard::inline STEELYARD_ISA {

/// Where the signs of a codebook format come from.
enum class Signs {
  kFree,     ///< the codewords are magnitudes; every value has its sign
  kEven,     ///< so, but the number of minus signs of 8 values is even
  kShifted,  ///< the codewords are signed, and there is a second book of them, shifted the other way
};

/// The book that a search reads. A device has copies of its own, which a kernel is given (compute/cuda/encoders.cuh).
#if STEELYARD_LANES == 1
template <class F>
STEELYARD_HD const typename F::Book& book_of(int shift);
#else
template <class F>
const typename F::Book& book_of(int shift) {
  return F::codebook(shift);
}
#endif

/// 1 where an odd number of the low 8 bits is set.
STEELYARD_HD inline uint32_t parity(uint32_t bits) {
  bits ^= bits >> 4;
  return 0x6996u >> (bits & 15) & 1;
}

/// What kJoint values of format F offer, as lines whose codes are drafts: the indices, and which vectors have a sign
/// turned.
///
/// F has kJoint, kVectors (codewords per code), kSigns, kIndexBits, kVariants (2 where a sub-block chooses the shift,
/// else 1) and codebook(shift). A code is the indices, kIndexBits each, and above them one sign bit per value, or the
/// bit of a shift that belongs to the codeword.
template <class F>
class JointLines {
 public:
  JointLines() = default;
  /// x, w: [kJoint], near 1 (UnitBlock).
  STEELYARD_HD JointLines(const float* x, const float* w) : w_(w) {
    for (int j = 0; j < F::kJoint; ++j) {
      const bool negative = F::kSigns != Signs::kShifted && x[j] < 0.0f;
      signs_ |= static_cast<uint32_t>(negative) << j;
      x_[j] = negative ? -x[j] : x[j];
      wx_[j] = w[j] * x_[j];
    }
  }

  /// The best codes for the scales of the ladder.
  STEELYARD_HD Envelope envelope(const Ladder& ladder, Among among, int variant) const {
    if constexpr (F::kSigns == Signs::kShifted) {
      const Envelope own = vector(0, ladder, among, variant, nullptr);
      return F::kVariants == 2 ? own : either(own, vector(0, ladder, among, 1, nullptr), ladder);
    } else {
      // Where the number of minus signs must change, one value takes the other sign, in whichever vector loses least.
      const bool odd = F::kSigns == Signs::kEven && parity(signs_) != 0;
      Envelope turned;
      const Envelope first = vector(0, ladder, among, 0, odd ? &turned : nullptr);
      if (F::kVectors == 1) return odd ? turned : first;
      Envelope second_turned;
      const Envelope second = vector(1, ladder, among, 0, odd ? &second_turned : nullptr);
      if (!odd) return sum(first, second);
      return either(sum(turned, second), sum(first, second_turned), ladder);
    }
  }

  /// The code of a draft.
  STEELYARD_HD uint32_t code(uint32_t draft) const {
    if (F::kSigns == Signs::kShifted) return draft;
    uint32_t signs = signs_;
    for (int v = 0; v < F::kVectors; ++v) {
      if ((draft >> (kDraftsAt + v) & 1) == 0) continue;
      // The value that costs least, as the search counted.
      const auto& book = book_of<F>(0);
      const auto index = static_cast<int>(draft >> (v * F::kIndexBits) & ((1u << F::kIndexBits) - 1));
      const auto cost = [&](int j) { return wx_[v * kDim + j] * static_cast<float>(book.value(index, j)); };
      int least = 0;
      for (int j = 1; j < kDim; ++j) least = cost(j) < cost(least) ? j : least;
      signs ^= 1u << (v * kDim + least);
    }
    return (draft & ((1u << kDraftsAt) - 1)) | signs << kDraftsAt;
  }

 private:
  static constexpr int kDim = F::kJoint / F::kVectors;
  static constexpr int kDraftsAt = F::kVectors * F::kIndexBits;

  /// The best codewords of vector v, and in `turned` those with one sign changed.
  STEELYARD_HD Envelope vector(int v, const Ladder& ladder, Among among, int shift, Envelope* turned) const {
    Envelope plain;
    book_of<F>(shift).envelopes({x_ + v * kDim, w_ + v * kDim, wx_ + v * kDim}, ladder, among, plain, turned);
    const uint32_t shift_bit = F::kVariants == 1 ? static_cast<uint32_t>(shift) << kDraftsAt : 0;
    plain.recode(v * F::kIndexBits, shift_bit);
    if (turned != nullptr) turned->recode(v * F::kIndexBits, 1u << (kDraftsAt + v));
    return plain;
  }

  const float* w_;
  float x_[F::kJoint];
  float wx_[F::kJoint];
  uint32_t signs_ = 0;
};

}  // namespace steelyard::inline STEELYARD_ISA
