// Rounding with error feedback, given what is known of the inputs; quantize/feedback.h says what is done and why.
//
// One text for all instruction sets and for devices. Every sum has its order: products are summed over ascending
// columns, one multiplication and one addition at a time, and lanes are columns, which never meet in a sum. So a row's
// bytes are the same everywhere. Compiled by quantize/feedback.isa.cc, with the steps of an Encoder, and for the device
// by compute/cuda/feedback.cuh, with those of one type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/feedback_inputs.h"
#include "formats/lanes.h"

namespace steelyard::inline STEELYARD_ISA {

/// Up to kRows rows on their way through the columns. `Steps` are those of formats/encoder.h, with block_len(),
/// joint(), sub_block(), rescales() and bounds of the first two, kMaxBlockLen and kMaxJoint; values(scales, codes, out)
/// are what a block decodes to.
template <class Steps, int kRows, int kStride>
class FeedbackTile {
 public:
  using Scales = typename Steps::Scales;
  static_assert(kStride == 1 || kLanes == 1);

  STEELYARD_HD FeedbackTile(const Steps& steps, const FeedbackInputs& inputs, const float* rows, int64_t n_rows,
                            const FeedbackMemory<Scales>& memory)
      : steps_(steps), in_(inputs), rows_(rows), n_rows_(n_rows), memory_(memory) {}

  /// Writes the rows' blocks, row_bytes apart.
  STEELYARD_HD void encode(std::byte* out, int64_t row_bytes) const {
    round();
    for (int64_t pass = 0; pass < in_.passes; ++pass) descend();
    counter_shrinkage();
    for (int64_t r = 0; r < n_rows_; ++r) {
      const Row own = row(r);
      for (int64_t at = 0; at < in_.n; at += steps_.block_len()) {
        steps_.pack(scales(own, at), codes(own, at),
                    out + r * row_bytes + at / steps_.block_len() * steps_.block_bytes());
      }
    }
  }

 private:
  struct Row {
    const float* x;  // [n]
    float* errors;
    float* panel;
    Scales* scales;
    uint32_t* codes;
  };

  struct Panel {
    int64_t begin, width;
    const float* factor;   // [n, width]
    const float* moments;  // [n, width]

    STEELYARD_HD float r(int64_t j, int64_t k) const { return factor[j * width + k - begin]; }
    STEELYARD_HD float h(int64_t j, int64_t k) const { return moments[j * width + k - begin]; }
  };

  STEELYARD_HD Row row(int64_t r) const {
    return {rows_ + r * in_.n, memory_.errors + r * in_.n * kStride, memory_.panel + r * kPanelLen * kStride,
            memory_.scales + r * (in_.n / steps_.block_len()), memory_.codes + r * (in_.n / steps_.joint())};
  }
  STEELYARD_HD Panel panel(int64_t begin) const {
    const int64_t width = in_.n - begin < kPanelLen ? in_.n - begin : kPanelLen;
    return {begin, width, in_.factor + begin * in_.n, in_.moments + begin * in_.n};
  }
  STEELYARD_HD Scales& scales(const Row& row, int64_t at) const { return row.scales[at / steps_.block_len()]; }
  STEELYARD_HD uint32_t* codes(const Row& row, int64_t at) const { return row.codes + at / steps_.joint(); }
  STEELYARD_HD float& error(const Row& row, int64_t k) const { return row.errors[k * kStride]; }
  STEELYARD_HD float rounded(const Row& row, int64_t k) const { return row.x[k] - error(row, k); }
  STEELYARD_HD float& of_panel(const Row& row, const Panel& panel, int64_t k) const {
    return row.panel[(k - panel.begin) * kStride];
  }

  // ---- products

  // Columns that are summed in registers at a time.
  static constexpr int kVectors = kLanes == 1 ? 8 : 2;
  static constexpr int kColumns = kVectors * kLanes;
  static_assert(kPanelStep % kColumns == 0);

  // Of kTogether rows: out [width], kStride apart, from column `from` on or some before it, += a [depth], kStep apart,
  // times b [depth, width]. Rows of a have n values, rows of out kPanelLen.
  template <int kTogether, int kStep>
  STEELYARD_HD void add_products(const float* a, int64_t depth, const float* b, int64_t width, int64_t from,
                                 float* out) const {
    for (int64_t k = from / kColumns * kColumns; k < width; k += kColumns) {
      Lanes sums[kTogether][kVectors];
      for (int r = 0; r < kTogether; ++r) {
        for (int v = 0; v < kVectors; ++v) sums[r][v] = load(out + (r * kPanelLen + k + v * kLanes) * kStride);
      }
      for (int64_t j = 0; j < depth; ++j) {
        Lanes values[kVectors];
        for (int v = 0; v < kVectors; ++v) values[v] = load(b + j * width + k + v * kLanes);
        for (int r = 0; r < kTogether; ++r) {
          const float factor = a[(r * in_.n + j) * kStep];
          for (int v = 0; v < kVectors; ++v) sums[r][v] += factor * values[v];
        }
      }
      for (int r = 0; r < kTogether; ++r) {
        for (int v = 0; v < kVectors; ++v) store(sums[r][v], out + (r * kPanelLen + k + v * kLanes) * kStride);
      }
    }
  }

  // The panels of all rows = a [n_rows, n], kStep apart, times the first `depth` rows of a matrix's panel.
  template <int kStep>
  STEELYARD_HD void multiply(const float* a, int64_t depth, const float* matrix, int64_t width) const {
    constexpr int kTogether = kRows < 4 ? kRows : 4;
    constexpr int64_t kRun = 32;  // rows of the panel that stay in the cache for all rows of the tile
    for (int64_t r = 0; r < n_rows_; ++r) {
      for (int64_t k = 0; k < width; ++k) row(r).panel[k * kStride] = 0.0f;
    }
    for (int64_t j = 0; j < depth; j += kRun) {
      const int64_t n = depth - j < kRun ? depth - j : kRun;
      const float* const b = matrix + j * width;
      int64_t r = 0;
      for (; r + kTogether <= n_rows_; r += kTogether) {
        add_products<kTogether, kStep>(a + (r * in_.n + j) * kStep, n, b, width, 0, row(r).panel);
      }
      for (; r < n_rows_; ++r) add_products<1, kStep>(a + (r * in_.n + j) * kStep, n, b, width, 0, row(r).panel);
    }
  }

  // out[j] = sum over i of v[i] * H(at + i, at + j), for n columns.
  STEELYARD_HD void multiply_block(const Panel& panel, int64_t at, int n, const float* v, float* out) const {
    for (int j = 0; j < n; ++j) out[j] = 0.0f;
    for (int i = 0; i < n; ++i) {
      const float* const h = panel.moments + (at + i) * panel.width + at - panel.begin;
      for (int j = 0; j < n; ++j) out[j] += v[i] * h[j];
    }
  }

  // ---- forwards, each column to what the errors before it leave to be mended

  STEELYARD_HD void round() const {
    for (int64_t begin = 0; begin < in_.n; begin += kPanelLen) {
      const Panel own = panel(begin);
      multiply<kStride>(memory_.errors, begin, own.factor, own.width);
      for (int64_t r = 0; r < n_rows_; ++r) {
        for (int64_t at = begin; at < begin + own.width; at += steps_.block_len()) round_block(row(r), own, at);
      }
    }
  }

  // w' of columns [at, at + n): the row, and what mends the errors so far times R, which the row's panel holds.
  STEELYARD_HD void mended(const Row& row, const Panel& panel, int64_t at, int n, float* out) const {
    for (int j = 0; j < n; ++j) out[j] = of_panel(row, panel, at + j);
    for (int i = 0; i < n; ++i) {
      const float* const r = panel.factor + (at + i) * panel.width + at - panel.begin;
      out[i] /= r[i];
      for (int j = i + 1; j < n; ++j) out[j] -= out[i] * r[j];
    }
    for (int j = 0; j < n; ++j) out[j] += row.x[at + j];
  }

  STEELYARD_HD void round_block(const Row& row, const Panel& panel, int64_t at) const {
    const auto effort = static_cast<Effort>(in_.effort);
    const float* const w = in_.weights + at;
    const int joint = steps_.joint(), sub_block = steps_.sub_block();
    float x[Steps::kMaxBlockLen];
    Scales& chosen = scales(row, at);
    mended(row, panel, at, steps_.block_len(), x);
    steps_.fit(x, w, effort, chosen, codes(row, at));
    for (int sub = 0; sub < steps_.block_len(); sub += sub_block) {
      if (steps_.rescales() && sub > 0) {
        mended(row, panel, at + sub, sub_block, x);
        steps_.rescale(x, w + sub, sub, effort, chosen);
      }
      for (int i = sub; i < sub + sub_block; i += joint) {
        float values[Steps::kMaxJoint], errors[Steps::kMaxJoint];
        mended(row, panel, at + i, joint, x);
        *codes(row, at + i) = steps_.round(x, w + i, chosen, i, values);
        for (int j = 0; j < joint; ++j) error(row, at + i + j) = errors[j] = row.x[at + i + j] - values[j];
        // Columns up to here are not read again.
        add_products<1, 1>(errors, joint, panel.factor + (at + i) * panel.width, panel.width,
                           at + i + joint - panel.begin, row.panel);
      }
    }
  }

  // ---- coordinate descent on e H e^T

  STEELYARD_HD void descend() const {
    for (int64_t begin = 0; begin < in_.n; begin += kPanelLen) {
      const Panel own = panel(begin);
      multiply<kStride>(memory_.errors, in_.n, own.moments, own.width);
      for (int64_t r = 0; r < n_rows_; ++r) {
        for (int64_t at = begin; at < begin + own.width; at += steps_.block_len()) descend_block(row(r), own, at);
      }
    }
  }

  // The row's panel is e H, and is kept up to date from this block on.
  STEELYARD_HD void descend_block(const Row& row, const Panel& panel, int64_t at) const {
    const int joint = steps_.joint();
    for (int64_t i = at; i < at + steps_.block_len(); i += joint) {
      // Of this group's errors e the cost is e H_BB e + 2 e c, least at -c H_BB^-1.
      const float* const inverse = in_.group_inverse + i * joint;
      float own[Steps::kMaxJoint], rest[Steps::kMaxJoint], target[Steps::kMaxJoint], weights[Steps::kMaxJoint],
          values[Steps::kMaxJoint];
      for (int j = 0; j < joint; ++j) own[j] = error(row, i + j);
      multiply_block(panel, i, joint, own, rest);
      for (int j = 0; j < joint; ++j) {
        rest[j] = of_panel(row, panel, i + j) - rest[j];
        weights[j] = panel.h(i + j, i + j);
        target[j] = row.x[i + j];
      }
      for (int k = 0; k < joint; ++k) {
        for (int j = 0; j < joint; ++j) target[j] += rest[k] * inverse[k * joint + j];
      }
      const uint32_t code = steps_.round(target, weights, scales(row, at), static_cast<int>(i - at), values);
      if (accept<Steps::kMaxJoint>(row, panel, i, joint, values, at)) *codes(row, i) = code;
    }
    stretch(row, panel, at);
  }

  // Scales the block's values by what suits the outputs best, as far as it can be stored.
  STEELYARD_HD void stretch(const Row& row, const Panel& panel, int64_t at) const {
    const int n = steps_.block_len();
    float values[Steps::kMaxBlockLen], product[Steps::kMaxBlockLen];
    for (int j = 0; j < n; ++j) values[j] = rounded(row, at + j);
    multiply_block(panel, at, n, values, product);
    double along = 0.0, curvature = 0.0;
    for (int j = 0; j < n; ++j) {
      along += static_cast<double>(values[j]) * of_panel(row, panel, at + j);
      curvature += static_cast<double>(values[j]) * product[j];
    }
    if (!(curvature > 0.0)) return;
    const auto factor = static_cast<float>(1.0 + along / curvature);
    Scales stretched = scales(row, at);
    refit(row, panel, at, factor, stretched);
    steps_.values(stretched, codes(row, at), values);
    if (accept<Steps::kMaxBlockLen>(row, panel, at, n, values, at)) scales(row, at) = stretched;
  }

  // Scales for the block's values times a factor, its codes staying.
  STEELYARD_HD void refit(const Row& row, const Panel& panel, int64_t at, float factor, Scales& changed) const {
    float values[Steps::kMaxBlockLen], weights[Steps::kMaxBlockLen];
    for (int j = 0; j < steps_.block_len(); ++j) {
      values[j] = factor * rounded(row, at + j);
      weights[j] = panel.h(at + j, at + j);
    }
    steps_.refit(values, weights, codes(row, at), changed);
  }

  // Rounds columns [at, at + n), n <= kMost, to `values` if that lowers e H e^T. Columns before `from` are not read
  // again.
  template <int kMost>
  STEELYARD_HD bool accept(const Row& row, const Panel& panel, int64_t at, int n, const float* values,
                           int64_t from) const {
    float change[kMost], product[kMost];
    bool changes = false;
    for (int j = 0; j < n; ++j) {
      change[j] = row.x[at + j] - values[j] - error(row, at + j);
      changes = changes || change[j] != 0.0f;
    }
    if (!changes) return false;
    multiply_block(panel, at, n, change, product);
    double cost = 0.0;
    for (int j = 0; j < n; ++j) {
      cost += change[j] * (static_cast<double>(product[j]) + 2.0 * of_panel(row, panel, at + j));
    }
    if (!(cost < 0.0)) return false;
    for (int j = 0; j < n; ++j) error(row, at + j) = row.x[at + j] - values[j];
    add_products<1, 1>(change, n, panel.moments + at * panel.width, panel.width, from - panel.begin, row.panel);
    return true;
  }

  // ---- the size of the outputs

  // Of a row's outputs W x only the part (Q x)(W x) / (W x)^2 is in Q x, less than one. Over a model's layers errors
  // average out and what is missing adds up.
  STEELYARD_HD void counter_shrinkage() const {
    double whole[kRows] = {}, kept[kRows] = {};
    for (int64_t begin = 0; begin < in_.n; begin += kPanelLen) {
      const Panel own = panel(begin);
      multiply<1>(rows_, in_.n, own.moments, own.width);
      for (int64_t r = 0; r < n_rows_; ++r) {
        const Row of = row(r);
        for (int64_t k = begin; k < begin + own.width; ++k) {
          const double output = of_panel(of, own, k);
          whole[r] += output * of.x[k];
          kept[r] += output * rounded(of, k);
        }
      }
    }
    for (int64_t r = 0; r < n_rows_; ++r) {
      // Where less than half is left it is not the size that is wrong.
      if (!(kept[r] > 0.5 * whole[r]) || !(kept[r] < whole[r])) continue;
      const auto factor = static_cast<float>(1.0 + in_.given_back * (whole[r] / kept[r] - 1.0));
      for (int64_t at = 0; at < in_.n; at += steps_.block_len()) {
        refit(row(r), panel(at / kPanelLen * kPanelLen), at, factor, scales(row(r), at));
      }
    }
  }

  const Steps steps_;
  const FeedbackInputs& in_;
  const float* rows_;
  int64_t n_rows_;
  FeedbackMemory<Scales> memory_;
};

}  // namespace steelyard::inline STEELYARD_ISA
