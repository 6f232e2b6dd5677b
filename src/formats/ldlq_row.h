// Rounds a row with error feedback; quantize/ldlq.h says what is done and why.
//
// One source for all targets of simd/targets.def and for devices. Every sum has a fixed order: products are summed over
// ascending columns, one multiplication and one addition at a time. Lanes are columns, which never meet in a sum. So a
// row's bytes are the same everywhere. Between panels of columns the caller multiplies a whole panel, in the same
// order. The callers are quantize/ldlq.simd.cc, with the steps of an Encoder, and the kernels of
// compute/cuda/ldlq.cuh, where half a warp has a row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/ldlq_inputs.h"
#include "formats/verbs.h"

// For loops over up to a whole block, which nvcc would otherwise unroll completely.
#if defined(__CUDACC__)
#define STEELYARD_UNROLL_8 _Pragma("unroll 8")
#else
#define STEELYARD_UNROLL_8
#endif

namespace steelyard::formats::inline STEELYARD_TARGET {

/// Columns [begin, begin + width) of the Hessian or its factor.
struct LdlqPanel {
  STEELYARD_HD LdlqPanel(const LdlqInputs& inputs, int64_t begin_column)
      : begin(begin_column),
        width(inputs.n - begin < kPanelLen ? inputs.n - begin : kPanelLen),
        factor(inputs.factor + begin * inputs.n),
        hessian(inputs.hessian + begin * inputs.n) {}

  int64_t begin, width;
  const float* factor;   ///< [n, width]
  const float* hessian;  ///< [n, width]
};

/// A row that is being rounded. `Steps` are those of formats/encoder.h, with block_len(), vector_dim(), sub_block(),
/// rescales() and bounds of the first two, kMaxBlockLen and kMaxVectorDim. values(scales, codes, out) gives the values
/// that a block decodes to.
///
/// What a block has is in memory that all lanes see (simd/simd.h); what a vector has, in arrays of kMaxVectorDim, is
/// the same for all lanes.
template <class Steps>
class LdlqRow {
 public:
  using Scales = typename Steps::Scales;

  /// The addresses of the row and its state.
  struct Memory {
    const float* x;   ///< [n]
    float* errors;    ///< [n]: original less rounded
    float* product;   ///< [kPanelLen], for the panel that is worked on: changed
    Scales* scales;   ///< [n / block_len]
    uint32_t* codes;  ///< [n / vector_dim]
  };

  STEELYARD_HD LdlqRow(const Steps& steps, const LdlqInputs& inputs, const Memory& memory)
      : steps_(steps), in_(inputs), own_(memory) {}

  /// Rounds the panel's columns; each compensates the errors of the columns before it. product: the errors of the
  /// earlier columns times R.
  STEELYARD_HD void round(const LdlqPanel& panel) const {
    for (int64_t at = panel.begin; at < panel.begin + panel.width; at += steps_.block_len()) round_block(panel, at);
  }

  /// Rounds every group of the panel once more, to lower e H e^T. product: all errors times H.
  STEELYARD_HD void descend(const LdlqPanel& panel) const {
    for (int64_t at = panel.begin; at < panel.begin + panel.width; at += steps_.block_len()) {
      for (int64_t i = at; i < at + steps_.block_len(); i += steps_.vector_dim()) descend_vector(panel, at, i);
      descend_scale(panel, at);
    }
  }

  /// Shrinkage compensation. Of a row's outputs W x, the part in Q x is (Q x)(W x) / (W x)^2 = projection / energy,
  /// less than one. Over a model's layers errors average out, but the missing part adds up.
  STEELYARD_HD void compensate_shrinkage(double energy, double projection) const {
    // Where less than half is left, the size is not the problem.
    if (!(projection > 0.5 * energy) || !(projection < energy)) return;
    const auto factor = static_cast<float>(1.0 + in_.shrinkage_compensation * (energy / projection - 1.0));
    for (int64_t at = 0; at < in_.n; at += steps_.block_len()) {
      refit(LdlqPanel(in_, at / kPanelLen * kPanelLen), at, factor, scales(at));
    }
  }

  STEELYARD_HD void pack(std::byte* out) const {
    for (int64_t at = 0; at < in_.n; at += steps_.block_len(), out += steps_.block_bytes()) {
      once([&] { steps_.pack(scales(at), codes(at), out); });
    }
  }

 private:
  enum class Of { kVector, kBlock };

  STEELYARD_HD Scales& scales(int64_t at) const { return own_.scales[at / steps_.block_len()]; }
  STEELYARD_HD uint32_t* codes(int64_t at) const { return own_.codes + at / steps_.vector_dim(); }
  STEELYARD_HD float x(int64_t k) const { return own_.x[k]; }
  STEELYARD_HD float& error(int64_t k) const { return own_.errors[k]; }
  STEELYARD_HD float& product(const LdlqPanel& panel, int64_t k) const { return own_.product[k - panel.begin]; }
  // Row k of a panel's matrix, from the diagonal on.
  STEELYARD_HD static const float* diagonal(const LdlqPanel& panel, const float* matrix, int64_t k) {
    return matrix + k * panel.width + k - panel.begin;
  }

  // body(0) .. body(n - 1), for the values of a block or of a vector.
  template <Of kOf, class Body>
  STEELYARD_HD static void over(int n, const Body& body) {
    if constexpr (kOf == Of::kBlock) {
      each(n, body);
    } else {
      for (int j = 0; j < n; ++j) body(j);
    }
  }

  // out[j] = sum over i of v[i] * H(at + i, at + j), for n columns.
  template <Of kOf>
  STEELYARD_HD static void multiply_block(const LdlqPanel& panel, int64_t at, int n, const float* v, float* out) {
    const float* const h = diagonal(panel, panel.hessian, at);
    if constexpr (kLanesAreThreads) {
      over<kOf>(n, [&](int j) {
        float sum = 0.0f;
        STEELYARD_UNROLL_8
        for (int i = 0; i < n; ++i) sum += v[i] * h[i * panel.width + j];
        out[j] = sum;
      });
    } else {
      for (int j = 0; j < n; ++j) out[j] = 0.0f;
      for (int i = 0; i < n; ++i) {
        const float* const row = h + i * panel.width;
        for (int j = 0; j < n; ++j) out[j] += v[i] * row[j];
      }
    }
  }

  // product += v [n] times rows [at, at + n) of a panel's matrix, from column `from` on. The columns before it are
  // undefined afterwards.
  STEELYARD_HD void add_to_product(const LdlqPanel& panel, const float* matrix, int64_t at, int n, const float* v,
                                   int64_t from) const {
    constexpr int kVectors = kLanes == 1 ? 1 : 2;
    constexpr int kStep = kVectors * kLanes;
    static_assert(kPanelStep % kStep == 0);
    for (int64_t k = (from - panel.begin) / kStep * kStep; k < panel.width; k += kStep) {
      Floats sums[kVectors];
      for (int c = 0; c < kVectors; ++c) sums[c] = load(own_.product + k + c * kLanes);
      const float* row = matrix + at * panel.width + k;
      STEELYARD_UNROLL_8
      for (int i = 0; i < n; ++i, row += panel.width) {
        for (int c = 0; c < kVectors; ++c) sums[c] += v[i] * load(row + c * kLanes);
      }
      for (int c = 0; c < kVectors; ++c) store(sums[c], own_.product + k + c * kLanes);
    }
  }

  // w' of columns [at, at + n): the row plus the compensation of `product`, the errors so far times R.
  template <Of kOf>
  STEELYARD_HD void feedback_target(const LdlqPanel& panel, int64_t at, int n, float* out) const {
    over<kOf>(n, [&](int j) { out[j] = product(panel, at + j); });
    for (int i = 0; i < n; ++i) {
      const float* const r = diagonal(panel, panel.factor, at + i);
      const float solved = out[i] / r[0];
      over<kOf>(n - i, [&](int j) { out[i + j] = j == 0 ? solved : out[i + j] - solved * r[j]; });
    }
    over<kOf>(n, [&](int j) { out[j] += x(at + j); });
  }

  STEELYARD_HD void round_block(const LdlqPanel& panel, int64_t at) const {
    const auto effort = static_cast<Effort>(in_.effort);
    const int vector_dim = steps_.vector_dim(), sub_block = steps_.sub_block();
    Common<float[Steps::kMaxBlockLen]> block_target;
    feedback_target<Of::kBlock>(panel, at, steps_.block_len(), *block_target);
    steps_.fit(*block_target, in_.weights + at, effort, scales(at), codes(at));
    for (int i = 0; i < steps_.block_len(); i += vector_dim) {
      const float* const w = in_.weights + at + i;
      if (steps_.rescales() && i > 0 && i % sub_block == 0) {
        feedback_target<Of::kBlock>(panel, at + i, sub_block, *block_target);
        steps_.rescale(*block_target, w, i, effort, scales(at));
      }
      float target[Steps::kMaxVectorDim], values[Steps::kMaxVectorDim], errors[Steps::kMaxVectorDim];
      feedback_target<Of::kVector>(panel, at + i, vector_dim, target);
      const uint32_t code = steps_.round(target, w, scales(at), i, values);
      for (int j = 0; j < vector_dim; ++j) errors[j] = x(at + i + j) - values[j];
      once([&] {
        *codes(at + i) = code;
        for (int j = 0; j < vector_dim; ++j) error(at + i + j) = errors[j];
      });
      add_to_product(panel, panel.factor, at + i, vector_dim, errors, at + i + vector_dim);
    }
  }

  // Rounds the group of the block at `at` that begins at column i. Its errors e cost e H_BB e + 2 e c, least at -c
  // H_BB^-1. The product is kept up to date from this block on.
  STEELYARD_HD void descend_vector(const LdlqPanel& panel, int64_t at, int64_t i) const {
    constexpr int kMaxLen = Steps::kMaxVectorDim;
    const int vector_dim = steps_.vector_dim();
    const float* const inverse = in_.vector_inverse + i * vector_dim;
    float errors[kMaxLen], rest[kMaxLen], target[kMaxLen], weights[kMaxLen], values[kMaxLen];
    for (int j = 0; j < vector_dim; ++j) errors[j] = error(i + j);
    multiply_block<Of::kVector>(panel, i, vector_dim, errors, rest);
    for (int j = 0; j < vector_dim; ++j) {
      rest[j] = product(panel, i + j) - rest[j];
      weights[j] = *diagonal(panel, panel.hessian, i + j);
      target[j] = x(i + j);
    }
    for (int k = 0; k < vector_dim; ++k) {
      for (int j = 0; j < vector_dim; ++j) target[j] += rest[k] * inverse[k * vector_dim + j];
    }
    const uint32_t code = steps_.round(target, weights, scales(at), static_cast<int>(i - at), values);
    float change[kMaxLen], outputs[kMaxLen];
    if (accept<Of::kVector>(panel, i, vector_dim, values, at, change, outputs)) assign(*codes(i), code);
  }

  // Scales the block's values by the best factor for the outputs, as far as it can be stored.
  STEELYARD_HD void descend_scale(const LdlqPanel& panel, int64_t at) const {
    const int n = steps_.block_len();
    Common<float[Steps::kMaxBlockLen]> values, outputs;
    each(n, [&](int j) { (*values)[j] = x(at + j) - error(at + j); });
    multiply_block<Of::kBlock>(panel, at, n, *values, *outputs);
    double along = 0.0, curvature = 0.0;
    for (int j = 0; j < n; ++j) {
      const double value = (*values)[j];
      along += value * product(panel, at + j);
      curvature += value * (*outputs)[j];
    }
    if (!(curvature > 0.0)) return;
    Common<Scales> scaled;
    assign(*scaled, scales(at));
    refit(panel, at, static_cast<float>(1.0 + along / curvature), *scaled);
    steps_.values(*scaled, codes(at), *values);
    Common<float[Steps::kMaxBlockLen]> change;
    if (accept<Of::kBlock>(panel, at, n, *values, at, *change, *outputs)) assign(scales(at), *scaled);
  }

  // Changes scales to fit the block's values times a factor, for fixed codes.
  STEELYARD_HD void refit(const LdlqPanel& panel, int64_t at, float factor, Scales& changed) const {
    Common<float[Steps::kMaxBlockLen]> values, weights;
    each(steps_.block_len(), [&](int j) {
      (*values)[j] = factor * (x(at + j) - error(at + j));
      (*weights)[j] = *diagonal(panel, panel.hessian, at + j);
    });
    once([&] { steps_.refit(*values, *weights, codes(at), changed); });
  }

  // Rounds columns [at, at + n) to `values` if that lowers e H e^T. Only the part of the product from column `from` on
  // is still needed. change, outputs: room for n numbers.
  template <Of kOf>
  STEELYARD_HD bool accept(const LdlqPanel& panel, int64_t at, int n, const float* values, int64_t from, float* change,
                           float* outputs) const {
    over<kOf>(n, [&](int j) { change[j] = x(at + j) - values[j] - error(at + j); });
    bool changes = false;
    for (int j = 0; j < n && !changes; ++j) changes = change[j] != 0.0f;
    if (!changes) return false;
    multiply_block<kOf>(panel, at, n, change, outputs);
    double cost = 0.0;
    for (int j = 0; j < n; ++j) {
      cost += change[j] * (static_cast<double>(outputs[j]) + 2.0 * product(panel, at + j));
    }
    if (!(cost < 0.0)) return false;
    if constexpr (kOf == Of::kBlock) {
      each(n, [&](int j) { error(at + j) = x(at + j) - values[j]; });
    } else {
      once([&] {
        for (int j = 0; j < n; ++j) error(at + j) = x(at + j) - values[j];
      });
    }
    add_to_product(panel, panel.hessian, at, n, change, from);
    return true;
  }

  const Steps steps_;
  const LdlqInputs& in_;
  const Memory own_;
};

/// The input of compensate_shrinkage, summed over the n columns of a panel: x H x^T and x H q^T of a row x,
/// which is rounded to q. product: x H.
STEELYARD_HD inline void accumulate_shrinkage(const float* x, const float* errors, const float* product, int64_t n,
                                              double& energy, double& projection) {
  for (int64_t k = 0; k < n; ++k) {
    energy += static_cast<double>(product[k]) * x[k];
    projection += static_cast<double>(product[k]) * (x[k] - errors[k]);
  }
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET
