// The values that a format codes jointly, as score lines over the scale (codebook.h), with signs and shifts.
#pragma once

#include <bit>
#include <cstdint>

#include "formats/search/codebook.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// Where the signs of a codebook format come from.
enum class Signs {
  kFree,     ///< the codewords are magnitudes; every value has its sign
  kEven,     ///< so, but the number of minus signs of 8 values is even
  kShifted,  ///< the codewords are signed, and there is a second book of them, shifted the other way
};

template <class F>
using BookOf = Codebook<1 << F::kIndexBits, F::kVectorDim / F::kCodewords, F::kLevels>;

/// The book of a format, made when it is first asked for; with shifts one for each. Those are of an eighth, and the
/// book is in eighths.
template <class F>
const BookOf<F>& codebook(int shift) {
  const auto byte = [](int c, int j) { return static_cast<int8_t>(F::grid()[c] >> (8 * j)); };
  if constexpr (F::kSigns == Signs::kShifted) {
    static const BookOf<F> kShifted[] = {BookOf<F>([&](int c, int j) { return 8 * byte(c, j) + 1; }),
                                         BookOf<F>([&](int c, int j) { return 8 * byte(c, j) - 1; })};
    return kShifted[shift];
  } else {
    static const BookOf<F> kBook(byte);
    return kBook;
  }
}

/// The codebook that a search reads. On a device the kernel gets a copy of its own (compute/cuda/books.cuh).
#if defined(__CUDACC__) || defined(STEELYARD_HALF_WARP)
template <class F>
STEELYARD_HD const BookOf<F>& book_of(int shift);
#else
template <class F>
const BookOf<F>& book_of(int shift) {
  return codebook<F>(shift);
}
#endif

/// 1 if an odd number of the low 8 bits is set.
STEELYARD_HD inline uint32_t parity(uint32_t bits) {
  bits ^= bits >> 4;
  return 0x6996u >> (bits & 15) & 1;
}

/// The score lines for kVectorDim values of format F. The codes of the lines are drafts: the indices, and which vectors
/// have a sign flipped.
///
/// F has kVectorDim, kCodewords (codewords per code), kSigns, kIndexBits, kVariants (2 where a sub-block chooses the
/// shift, else 1), grid() and kLevels (of its codebook). A code is the indices, kIndexBits each, and above them one
/// sign bit per value, or the bit of a shift that belongs to the codeword.
template <class F>
class VectorSearch {
 public:
  VectorSearch() = default;
  /// x, w: [kVectorDim], near 1 (NormalizedBlock).
  STEELYARD_HD VectorSearch(const float* x, const float* w) : w_(w) {
    for (int j = 0; j < F::kVectorDim; ++j) {
      const bool negative = F::kSigns != Signs::kShifted && x[j] < 0.0f;
      signs_ |= static_cast<uint32_t>(negative) << j;
      x_[j] = negative ? -x[j] : x[j];
      wx_[j] = w[j] * x_[j];
    }
  }

  /// The best codes for the scales of the grid, one for each.
  STEELYARD_HD void best_codes(const ScaleGrid& grid, SearchSet search_set, int variant, CodewordScore* best) const {
    if constexpr (F::kSigns == Signs::kShifted) {
      best_codewords(0, grid, search_set, variant, best, nullptr);
      if (F::kVariants == 2) return;
      Common<CodewordScore[ScaleGrid::kMaxScales]> other;
      best_codewords(0, grid, search_set, 1, *other, nullptr);
      each(grid.size, [&](int k) { keep_better((*other)[k], grid.scale.own(k), best[k]); });
    } else {
      // Where the parity of the minus signs must change, one value takes the other sign, in whichever vector loses
      // least.
      const bool odd = F::kSigns == Signs::kEven && parity(signs_) != 0;
      if (F::kCodewords == 1) return best_codewords(0, grid, search_set, 0, odd ? nullptr : best, odd ? best : nullptr);
      Common<CodewordScore[ScaleGrid::kMaxScales]> first_flipped, second, second_flipped;
      best_codewords(0, grid, search_set, 0, best, odd ? &(*first_flipped)[0] : nullptr);
      best_codewords(1, grid, search_set, 0, *second, odd ? &(*second_flipped)[0] : nullptr);
      each(grid.size, [&](int k) {
        const CodewordScore first = best[k];
        if (!odd) {
          best[k] = sum_of(first, (*second)[k]);
        } else {
          best[k] = sum_of((*first_flipped)[k], (*second)[k]);
          keep_better(sum_of(first, (*second_flipped)[k]), grid.scale.own(k), best[k]);
        }
      });
    }
  }

  /// The code of a draft.
  STEELYARD_HD uint32_t code(uint32_t draft) const {
    if (F::kSigns == Signs::kShifted) return draft;
    uint32_t signs = signs_;
    for (int v = 0; v < F::kCodewords; ++v) {
      if ((draft >> (kDraftsAt + v) & 1) == 0) continue;
      // The value whose sign costs least, as counted in the search.
      const auto& book = book_of<F>(0);
      const auto index = static_cast<int>(draft >> (v * F::kIndexBits) & ((1u << F::kIndexBits) - 1));
      const auto cost = [&](int j) { return wx_[v * kCodewordDim + j] * static_cast<float>(book.value(index, j)); };
      int least = 0;
      for (int j = 1; j < kCodewordDim; ++j) least = cost(j) < cost(least) ? j : least;
      signs ^= 1u << (v * kCodewordDim + least);
    }
    return (draft & ((1u << kDraftsAt) - 1)) | signs << kDraftsAt;
  }

 private:
  static constexpr int kCodewordDim = F::kVectorDim / F::kCodewords;
  static constexpr int kDraftsAt = F::kCodewords * F::kIndexBits;

  /// The best codewords of vector v, and in `flipped` those with one sign flipped.
  STEELYARD_HD void best_codewords(int v, const ScaleGrid& grid, SearchSet search_set, int shift, CodewordScore* plain,
                                   CodewordScore* flipped) const {
    book_of<F>(shift).best_codewords({x_ + v * kCodewordDim, w_ + v * kCodewordDim, wx_ + v * kCodewordDim}, grid,
                                     search_set, plain, flipped);
    const uint32_t shift_bit = F::kVariants == 1 ? static_cast<uint32_t>(shift) << kDraftsAt : 0;
    if (v == 0 && shift_bit == 0 && flipped == nullptr) return;  // the index is the draft
    each(grid.size, [&](int k) {
      if (plain != nullptr) draft(v, shift_bit, plain[k]);
      if (flipped != nullptr) draft(v, 1u << (kDraftsAt + v), flipped[k]);
    });
  }

  /// Makes the index of a codeword in vector v a draft.
  STEELYARD_HD static void draft(int v, uint32_t bits, CodewordScore& score) {
    score.code = score.code << (v * F::kIndexBits) | bits;
  }

  /// Two vectors under one scale.
  STEELYARD_HD static CodewordScore sum_of(const CodewordScore& a, const CodewordScore& b) {
    return {a.xg + b.xg, a.gg + b.gg, a.code | b.code};
  }

  STEELYARD_HD static void keep_better(const CodewordScore& other, float scale, CodewordScore& best) {
    const bool better = other.at(scale) > best.at(scale);
    best.xg = better ? other.xg : best.xg;
    best.gg = better ? other.gg : best.gg;
    best.code = better ? other.code : best.code;
  }

  const float* w_;
  float x_[F::kVectorDim];
  float wx_[F::kVectorDim];
  uint32_t signs_ = 0;
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
