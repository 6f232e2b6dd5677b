// Codebooks of 4 or 8 values, searched under one scale or many.
//
// For values x with weights w, the codeword g under scale s leaves the error  const - gain,  gain = s (2 xg - s gg),
// with xg = sum w x g and gg = sum w g^2. Neither sum depends on s. So the score of a codeword, 2 xg - s gg, is a
// straight line over s, and the best codewords of all scales are the upper envelope of these lines: some five of a
// thousand. The envelope is approximated by the winners under a few scales. Any scale in between then costs one
// multiplication per winner.
//
// A winner is found among all codewords, or among the kNear codewords nearest to the cell of the level grid into which
// x / s falls. One cell serves two neighbouring scales. With unequal weights another codeword may win, by little
// (docs/results/encoders.md).
//
// Codewords lie in the SIMD lanes. The values of one codeword are summed in order. Ties go to the first candidate.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "formats/verbs.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

/// The scores of a codeword, or of several that are taken together, as a line over the scale.
struct CodewordScore {
  float xg;
  float gg;
  uint32_t code;

  STEELYARD_HD float at(float scale) const { return 2.0f * xg - scale * gg; }
};

/// Scales in a geometric series, from the smallest up.
struct ScaleGrid {
  static constexpr int kMaxScales = 12;
  LaneArray<kMaxLanes> scale;
  int size;

  /// `n` scales around `middle`, each `ratio` times the previous one.
  STEELYARD_HD ScaleGrid(float middle, float ratio, int n) : size(n) {
    float next = middle;
    for (int k = 1; k < n; k += 2) next /= ratio;
    if (n % 2 == 0) next *= std::sqrt(ratio);
    for (int k = 0; k < n; ++k, next *= ratio) scale.set(k, next);
  }
};

/// The best at `scale` of `n` lines, those that are best at the scales of a series; the first among equals. A line that
/// is the best at two scales is there twice: loops of equal length are easier to predict for a processor.
STEELYARD_HD inline const CodewordScore& best_line(const CodewordScore* lines, int n, float scale) {
  int best = 0;
  float most = lines[0].at(scale);
  for (int i = 1; i < n; ++i) {
    const float gain = lines[i].at(scale);
    best = gain > most ? i : best;
    most = gain > most ? gain : most;
  }
  return lines[best];
}

/// Which codewords a search considers.
enum class SearchSet { kAll, kNear };

/// The best of candidates that come kLanes at a time; the first among equals.
class RunningArgmax {
 public:
  STEELYARD_HD void consider(int first, const Floats& gains) {
    index_ = gains > max_ ? first - Ints{} : index_;
    max_ = max(gains, max_);
  }
  STEELYARD_HD int index() const { return least_index(max_ == broadcast(largest(max_)), index_); }

 private:
  Floats max_ = broadcast(-HUGE_VALF);
  Ints index_ = {};
};

/// How the values of a codeword are spaced: `count` levels, about `spacing` apart, starting at `first`.
struct Levels {
  int count;
  float first;
  float spacing;
};

/// kSize codewords of kDim integers.
template <int kSize, int kDim, Levels kLevels>
class Codebook {
 public:
  static constexpr float kSmallestLevel = kLevels.first;

  /// One vector; wx = w * x.
  struct Vector {
    const float* x;
    const float* w;
    const float* wx;
  };

  /// value_of(c, j): value j of codeword c.
  template <class Value>
  explicit Codebook(const Value& value_of) {
    for (int c = 0; c < kSize; ++c) {
      for (int j = 0; j < kDim; ++j) {
        rows_[c][j] = static_cast<int8_t>(value_of(c, j));
        values_[c / kMaxLanes][j][c % kMaxLanes] = rows_[c][j];
      }
    }
    for (int cell = 0; cell < kCells; ++cell) fill(cell);
  }

  STEELYARD_HD int value(int codeword, int j) const { return rows_[codeword][j]; }

  /// The best codewords for the given scales. `flipped`: the best codewords if the cheapest sign of each is flipped (x
  /// >= 0 then). Either may be null.
  STEELYARD_HD void best_codewords(const Vector& vector, const ScaleGrid& grid, SearchSet search_set,
                                   CodewordScore* plain, CodewordScore* flipped) const {
    if (search_set == SearchSet::kAll) {
      if constexpr (kLanesAreThreads) {
        if (plain != nullptr) best_of_all<false>(vector, grid, plain);
        if (flipped != nullptr) best_of_all<true>(vector, grid, flipped);
      } else {
        Sums<kSize> sums;
        sums.add_up(vector, values_[0][0], flipped != nullptr);
        for (int k = 0; k < grid.size; ++k) {
          if (plain != nullptr) plain[k] = sums.best(sums.xg, grid.scale[k]);
          if (flipped != nullptr) flipped[k] = sums.best(sums.flipped_xg, grid.scale[k]);
        }
      }
      return;
    }
    for (int k = 0; k < grid.size; k += kScalesPerCell) {
      const int end = std::min(k + kScalesPerCell, grid.size);
      const int cell = cell_of(vector.x, 0.5f * (grid.scale[k] + grid.scale[end - 1]));
      Sums<kNear> sums;
      sums.add_up(vector, near_values_[cell][0], flipped != nullptr);
      for (int own = k; own < end; ++own) {
        if (plain != nullptr) assign(plain[own], named(cell, sums.best(sums.xg, grid.scale[own])));
        if (flipped != nullptr) assign(flipped[own], named(cell, sums.best(sums.flipped_xg, grid.scale[own])));
      }
    }
  }

 private:
  static constexpr int kNear = kMaxLanes;
  static constexpr int kScalesPerCell = 2;  // neighbours on a grid: their cells hold almost the same codewords
  STEELYARD_HD static constexpr int cell_count() {
    int cells = 1;
    for (int j = 0; j < kDim; ++j) cells *= kLevels.count;
    return cells;
  }
  static constexpr int kCells = cell_count();

  /// A line of a near codeword, with its index.
  STEELYARD_HD CodewordScore named(int cell, const CodewordScore& score) const {
    return {score.xg, score.gg, near_[cell][score.code]};
  }

  STEELYARD_HD static int cell_of(const float* x, float scale) {
    constexpr float kOffset = 0.5f - kLevels.first / kLevels.spacing;
    constexpr float kHighest = static_cast<float>(kLevels.count - 1);
    const float inverse = scale > 0.0f ? 1.0f / (scale * kLevels.spacing) : 0.0f;
    return number_of_digits<kDim>(kLevels.count, [&](int j) {
      const float raised = x[j] * inverse + kOffset;
      const float above = raised > 0.0f ? raised : 0.0f;
      return static_cast<int>(above < kHighest ? above : kHighest);
    });
  }

  /// A number for each of the near codewords, or of all.
  template <int kCount>
  struct Row {
    alignas(64) float values[kCount];
    STEELYARD_HD Floats get(int c) const { return load(values + c); }
    STEELYARD_HD void put(int c, const Floats& v) { store(v, values + c); }
    STEELYARD_HD float operator[](int c) const { return values[c]; }
  };

  /// xg and gg of codewords, and xg with the cheapest sign flipped.
  template <int kCount>
  struct Sums {
    using Each = std::conditional_t<kCount == kNear, LaneArray<kNear>, Row<kCount>>;
    Each xg, gg, flipped_xg;

    /// values: blocks of kDim by kMaxLanes.
    STEELYARD_HD void add_up(const Vector& vector, const int8_t* values, bool flip) {
      for (int c = 0; c < kCount; c += kLanes) {
        const int8_t* const block = values + c / kMaxLanes * (kDim * kMaxLanes) + c % kMaxLanes;
        Floats own_xg = {};
        Floats own_gg = {};
        Floats least = broadcast(HUGE_VALF);
        for (int j = 0; j < kDim; ++j) {
          const Floats value = load(block + j * kMaxLanes);
          const Floats term = broadcast(vector.wx[j]) * value;
          own_xg += term;
          own_gg += broadcast(vector.w[j]) * (value * value);
          least = min(least, term);
        }
        xg.put(c, own_xg);
        gg.put(c, own_gg);
        if (flip) flipped_xg.put(c, own_xg - (least + least));
      }
    }

    STEELYARD_HD CodewordScore best(const Each& sums_of_x, float scale) const {
      const Floats half = broadcast(0.5f * scale);
      if constexpr (kCount == kLanes) {
        const Floats gains = sums_of_x.get(0) - half * gg.get(0);
        const int index = first_lane(lane_bits(gains == broadcast(largest(gains))));
        return {sums_of_x[index], gg[index], static_cast<uint32_t>(index)};
      }
      RunningArgmax best;
      for (int c = 0; c < kCount; c += kLanes) best.consider(c, sums_of_x.get(c) - half * gg.get(c));
      const int index = best.index();
      return {sums_of_x[index], gg[index], static_cast<uint32_t>(index)};
    }
  };

  /// xg and gg of the codewords that begin at `values` and are kApart from one value to the next, one in each lane.
  template <int kApart, bool kFlip, class Number, class Load>
  STEELYARD_HD static void add_up(const Vector& vector, const int8_t* values, const Load& load_value, Number& xg,
                                  Number& gg) {
    xg = Number{};
    gg = Number{};
    Number least = HUGE_VALF - Number{};
    for (int j = 0; j < kDim; ++j) {
      const Number value = load_value(values + j * kApart);
      const Number term = vector.wx[j] * value;
      xg += term;
      gg += vector.w[j] * (value * value);
      if (kFlip) least = term < least ? term : least;
    }
    if (kFlip) xg = xg - (least + least);
  }

  /// What Sums<kSize> gives, where lanes are threads and have no room for so many sums: those of the winners are made
  /// again.
  template <bool kFlip>
  STEELYARD_HD void best_of_all(const Vector& vector, const ScaleGrid& grid, CodewordScore* best) const {
    constexpr int kTogether = 4;
    for (int k = 0; k < grid.size; k += kTogether) {
      RunningArgmax winners[kTogether];
      float half[kTogether];
      for (int i = 0; i < kTogether; ++i) half[i] = 0.5f * grid.scale[std::min(k + i, grid.size - 1)];
      for (int c = 0; c < kSize; c += kLanes) {
        Floats xg, gg;
        add_up<kMaxLanes, kFlip>(
            vector, values_[c / kMaxLanes][0] + c % kMaxLanes, [](const int8_t* p) { return load(p); }, xg, gg);
        for (int i = 0; i < kTogether; ++i) winners[i].consider(c, xg - half[i] * gg);
      }
      for (int i = 0; i < kTogether; ++i) {
        if (k + i >= grid.size) break;
        const int index = winners[i].index();
        float xg, gg;
        add_up<1, kFlip>(
            vector, rows_[index], [](const int8_t* p) { return static_cast<float>(*p); }, xg, gg);
        assign(best[k + i], CodewordScore{xg, gg, static_cast<uint32_t>(index)});
      }
    }
  }

  /// Finds the codewords nearest to the middle of a cell.
  void fill(int cell) {
    float middle[kDim];
    for (int j = kDim - 1, rest = cell; j >= 0; --j, rest /= kLevels.count) {
      middle[j] = kLevels.first + kLevels.spacing * static_cast<float>(rest % kLevels.count);
    }
    // Distance above, codeword below: a single number to sort by, because floats that are not negative sort like their
    // bits.
    uint64_t codewords[kSize];
    for (int c = 0; c < kSize; c += kMaxLanes) {  // without verbs: books of devices are made on the host
      float distances[kMaxLanes] = {};
      for (int j = 0; j < kDim; ++j) {
        for (int i = 0; i < kMaxLanes; ++i) {
          const float off = static_cast<float>(values_[c / kMaxLanes][j][i]) - middle[j];
          distances[i] += off * off;
        }
      }
      for (int i = 0; i < kMaxLanes; ++i) {
        codewords[c + i] = uint64_t{std::bit_cast<uint32_t>(distances[i])} << 32 | static_cast<uint32_t>(c + i);
      }
    }
    // A type of this target, because instances for std::less would be shared by all targets (cmake/simd.cmake).
    const auto less = [](uint64_t a, uint64_t b) { return a < b; };
    std::nth_element(codewords, codewords + kNear, codewords + kSize, less);
    std::sort(codewords, codewords + kNear, less);
    for (int i = 0; i < kNear; ++i) {
      const auto codeword = static_cast<uint16_t>(codewords[i]);
      near_[cell][i] = codeword;
      for (int j = 0; j < kDim; ++j) near_values_[cell][j][i] = static_cast<int8_t>(value(codeword, j));
    }
  }

  alignas(64) int8_t values_[kSize / kMaxLanes][kDim][kMaxLanes];  ///< in the order of lanes
  int8_t rows_[kSize][kDim];                                       ///< in that of codewords
  /// The nearest codewords of each combination of levels, and their values in the order of lanes.
  alignas(64) int8_t near_values_[kCells][kDim][kNear];
  uint16_t near_[kCells][kNear];
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
