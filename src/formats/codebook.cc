#include "formats/codebook.h"

#include <cmath>
#include <type_traits>

#include "formats/lanes.h"
#include "formats/search.h"

namespace steelyard {
namespace {

constexpr int kSteps = SteppedScales::kSteps;

/// Index of the largest of `values` [n], the first of equals. n is a multiple of 16.
int first_largest(const float* values, int n) {
  Lanes largest[4] = {load(values), load(values + 4), load(values + 8), load(values + 12)};
  for (int i = 16; i < n; i += 16) {
    for (int k = 0; k < 4; ++k) {
      const Lanes next = load(values + i + kLanes * k);
      largest[k] = next > largest[k] ? next : largest[k];
    }
  }
  float best = largest[0][0];
  for (const Lanes& lanes : largest) {
    for (int l = 0; l < kLanes; ++l) best = std::max(best, lanes[l]);
  }
  return static_cast<int>(std::find(values, values + n, best) - values);
}

/// Calls body with the number of values per codeword as a constant, so that its loops unroll.
template <class Body>
void with_dim(int dim, const Body& body) {
  if (dim == 8) {
    body(std::integral_constant<int, 8>{});
  } else {
    body(std::integral_constant<int, 4>{});
  }
}

/// A codeword as a point of the plane in which the hull lies.
struct Point {
  float gg;
  float xg;
};

/// How far (gg, xg) lies above the line from `quiet` to `loud`, times a positive number.
template <class T>
T height(const Point& quiet, const Point& loud, const T& gg, const T& xg) {
  return (xg - quiet.xg) * (loud.gg - quiet.gg) - (gg - quiet.gg) * (loud.xg - quiet.xg);
}

/// The upper hull of the codewords of one vector, from the loudest (best for the smallest scales) to the quietest.
class Hull {
 public:
  Hull(const Codebook& codebook, const float* x, const float* w) {
    alignas(64) float xg[Codebook::kMaxSize] = {};
    alignas(64) float gg[Codebook::kMaxSize] = {};
    alignas(64) float heights[Codebook::kMaxSize];
    const int size = codebook.size();
    codebook.sums(x, w, xg, gg);
    const auto point = [&](int c) { return Point{gg[c], xg[c]}; };

    const Point quiet = point(0);
    const Point loud = point(first_largest(xg, size));
    for (int c = 0; c < size; c += kLanes) store(height(quiet, loud, load(gg + c), load(xg + c)), heights + c);
    const Point middle = point(first_largest(heights, size));

    // The few codewords above the lines over the middle; only they can be corners.
    Point above[Codebook::kMaxSize];
    int n_above = 0;
    for (int c = 0; c < size; c += kLanes) {
      const Lanes left = height(quiet, middle, load(gg + c), load(xg + c));
      const Lanes right = height(middle, loud, load(gg + c), load(xg + c));
      if (!any_positive(left > right ? left : right)) continue;
      for (int l = 0; l < kLanes; ++l) {
        if (left[l] > 0.0f || right[l] > 0.0f) above[n_above++] = point(c + l);
      }
    }
    corners_[size_++] = loud;
    const Point* const loud_side =
        std::partition(above, above + n_above, [&](const Point& p) { return p.gg < middle.gg; });
    const auto n_quiet = static_cast<int>(loud_side - above);
    append_corners(middle, loud, above + n_quiet, n_above - n_quiet);
    append(middle);
    append_corners(quiet, middle, above, n_quiet);
    corners_[size_++] = quiet;
  }

  int size() const { return size_; }
  const Point& operator[](int i) const { return corners_[i]; }

  static constexpr int kMaxCorners = 64;

 private:
  /// Room is left for the quietest; more corners than fit, all almost on one line, would not be missed.
  void append(const Point& corner) {
    if (size_ < kMaxCorners - 1) corners_[size_++] = corner;
  }

  /// Appends the corners strictly between loud and quiet out of `points` [n], which it reorders.
  void append_corners(const Point& quiet, const Point& loud, Point* points, int n) {
    int above = 0;
    float highest = 0.0f;
    Point corner = quiet;
    for (int i = 0; i < n; ++i) {
      const Point point = points[i];
      const float h = height(quiet, loud, point.gg, point.xg);
      if (h > highest) {
        highest = h;
        corner = point;
      }
      points[above] = point;
      above += h > 0.0f;
    }
    if (above == 0) return;
    Point* const end = points + above;
    Point* const louder = std::partition(points, end, [&](const Point& p) { return p.gg <= corner.gg; });
    append_corners(corner, loud, louder, static_cast<int>(end - louder));
    append(corner);
    append_corners(quiet, corner, points, static_cast<int>(louder - points));
  }

  Point corners_[kMaxCorners];
  int size_ = 0;
};

/// The least error of a sub-block, without its constant, as a function of the scale that its vectors share.
class Envelope {
 public:
  void add(const Hull& hull) {
    xg_ += hull[0].xg;
    gg_ += hull[0].gg;
    for (int i = 1; i < hull.size(); ++i) {
      const float xg = hull[i - 1].xg - hull[i].xg;
      const float gg = hull[i - 1].gg - hull[i].gg;
      if (gg > 0.0f) changes_[n_++] = {2.0f * xg / gg, xg, gg};
    }
  }

  /// Call once, after the last add.
  void finish() {
    std::sort(changes_, changes_ + n_, [](const Change& a, const Change& b) { return a.scale < b.scale; });
  }

  /// The scale of least error.
  double best_scale() const {
    double xg = xg_;
    double gg = gg_;
    double best = 0.0;
    double least = 0.0;
    for (int i = 0; i <= n_; ++i) {
      const double from = i == 0 ? 0.0 : changes_[i - 1].scale;
      const double scale = i < n_ ? std::clamp(xg / gg, from, std::max(from, double{changes_[i].scale})) : xg / gg;
      const double error = scale * (scale * gg - 2.0 * xg);
      if (error < least) {
        least = error;
        best = scale;
      }
      if (i < n_) {
        xg -= changes_[i].xg;
        gg -= changes_[i].gg;
      }
    }
    return best;
  }

  struct Choice {
    int step;
    double error;
    double xg;
    double gg;
  };

  /// The step of least error when the scale is first * (2 * step + 1).
  Choice best_step(double first) const {
    double xg = xg_;
    double gg = gg_;
    int i = 0;
    Choice best = {0, HUGE_VAL, 0.0, 0.0};
    for (int step = 0; step < kSteps; ++step) {
      const double scale = first * (2 * step + 1);
      for (; i < n_ && changes_[i].scale <= scale; ++i) {
        xg -= changes_[i].xg;
        gg -= changes_[i].gg;
      }
      const double error = scale * (scale * gg - 2.0 * xg);
      if (error < best.error) best = {step, error, xg, gg};
    }
    return best;
  }

 private:
  /// From `scale` on, one vector has its next codeword, and the sums are less by so much.
  struct Change {
    float scale;
    float xg;
    float gg;
  };
  static constexpr int kMaxVectors = 8;
  Change changes_[kMaxVectors * Hull::kMaxCorners];
  int n_ = 0;
  double xg_ = 0.0;
  double gg_ = 0.0;
};

/// All sub-blocks of a block under one d.
class StepSearch {
 public:
  StepSearch(const UnitBlock& block, const Envelope* envelopes, int n_sub_blocks, double unit)
      : block_(block), envelopes_(envelopes), n_sub_blocks_(n_sub_blocks), unit_(unit) {}

  /// Takes d (of the unit block) if it beats the best so far.
  void consider(double d) {
    const Half stored = block_.store(static_cast<float>(d));
    const double first = block_.load(stored) * unit_;
    SteppedScales scales = {stored, {}};
    double error = 0.0;
    double xg = 0.0;
    double gg = 0.0;
    for (int b = 0; b < n_sub_blocks_; ++b) {
      const Envelope::Choice choice = envelopes_[b].best_step(first);
      const double multiple = 2 * choice.step + 1;
      scales.step[b] = static_cast<uint8_t>(choice.step);
      error += choice.error;
      xg += multiple * choice.xg;
      gg += multiple * multiple * choice.gg;
    }
    if (error < error_) {
      error_ = error;
      best_ = scales;
      least_squares_d_ = gg > 0.0 ? xg / gg / unit_ : 0.0;
    }
  }

  double d() const { return block_.load(best_.d); }
  /// The d that would suit the codewords and steps of the best.
  double least_squares_d() const { return least_squares_d_; }
  const SteppedScales& best() const { return best_; }

 private:
  const UnitBlock& block_;
  const Envelope* envelopes_;
  int n_sub_blocks_;
  double unit_;
  double error_ = HUGE_VAL;
  double least_squares_d_ = 0.0;
  SteppedScales best_ = {};
};

}  // namespace

void Codebook::sums(const float* x, const float* w, float* xg, float* gg) const {
  with_dim(dim_, [&](auto dim) {
    Lanes ws[dim];
    Lanes wxs[dim];
    for (int j = 0; j < dim; ++j) {
      ws[j] = broadcast(w[j]);
      wxs[j] = broadcast(w[j] * x[j]);
    }
    const float* values = values_;
    for (int c = 0; c < size_; c += kLanes) {
      Lanes sum_xg = {};
      Lanes sum_gg = {};
      for (int j = 0; j < dim; ++j, values += kLanes) {
        const Lanes value = load(values);
        sum_xg += wxs[j] * value;
        sum_gg += ws[j] * (value * value);
      }
      store(sum_xg, xg + c);
      store(sum_gg, gg + c);
    }
  });
}

uint32_t Codebook::nearest(const float* x, const float* w, float scale) const {
  // Relative to the scale and to the largest weight nothing overflows; beyond kFar the largest codeword wins anyway.
  constexpr float kFar = 1e6f;
  float largest = 0.0f;
  for (int j = 0; j < dim_; ++j) largest = std::max(largest, w[j]);
  alignas(64) float gains[kMaxSize];
  with_dim(dim_, [&](auto dim) {
    Lanes relative_w[dim];
    Lanes pull[dim];
    for (int j = 0; j < dim; ++j) {
      const float weight = largest > 0.0f ? w[j] / largest : 1.0f;
      relative_w[j] = broadcast(weight);
      pull[j] = broadcast(scale > 0.0f ? 2.0f * weight * std::min(std::fabs(x[j]) / scale, kFar) : 0.0f);
    }
    const float* values = values_;
    for (int c = 0; c < size_; c += kLanes) {
      Lanes gain = {};
      for (int j = 0; j < dim; ++j, values += kLanes) {
        const Lanes value = load(values);
        gain += value * (pull[j] - relative_w[j] * value);
      }
      store(gain, gains + c);
    }
  });
  return static_cast<uint32_t>(first_largest(gains, size_));
}

SteppedScales search_stepped_scales(const Codebook& codebook, const float* x, const float* w, int n_sub_blocks,
                                    double unit) {
  const UnitBlock block(x, w, kMaxBlockLen);
  const int sub_block_len = kMaxBlockLen / n_sub_blocks;
  Envelope envelopes[SteppedScales::kMaxSubBlocks];
  double largest = 0.0;
  for (int b = 0; b < n_sub_blocks; ++b) {
    for (int i = b * sub_block_len; i < (b + 1) * sub_block_len; i += codebook.dim()) {
      float magnitudes[kMaxJoint];
      for (int j = 0; j < codebook.dim(); ++j) magnitudes[j] = std::fabs(block.x[i + j]);
      envelopes[b].add(Hull(codebook, magnitudes, block.w + i));
    }
    envelopes[b].finish();
    largest = std::max(largest, envelopes[b].best_scale());
  }

  // From a little above what gives the largest scale the last step, down to where the loudest sub-blocks are cut.
  StepSearch search(block, envelopes, n_sub_blocks, unit);
  const double whole = largest / (unit * (2 * kSteps - 1));
  double factor = 1.16;
  for (int k = 0; k < 12; ++k, factor *= 0.92) search.consider(whole * factor);
  const double centre = search.d();
  for (int k = -2; k <= 2; ++k) search.consider(centre * (1.0 + 0.02 * k));
  for (int k = 0; k < 2; ++k) search.consider(search.least_squares_d());
  return search.best();
}

void refit_stepped_scales(const float* x, const float* w, const float* q, int n_sub_blocks, double unit,
                          SteppedScales& scales) {
  // For given levels and steps, the block is one long vector of levels q * unit * (2 * step + 1) under the scale d.
  const int sub_block_len = kMaxBlockLen / n_sub_blocks;
  ScaleSums sums;
  for (int i = 0; i < kMaxBlockLen; ++i) {
    sums.add(x[i], w[i], q[i] * unit * (2 * scales.step[i / sub_block_len] + 1));
  }
  scales.d = refit_scale(sums, scales.d);
}

}  // namespace steelyard
