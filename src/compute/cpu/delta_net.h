// Inner loops of gated delta net layers, compiled once per target (delta_net.simd.cc). Every column of a value
// is computed alone and in the order of the keys, nothing is contracted to FMA: the same bits whatever the width.
#pragma once

#include <cstdint>

#include "simd/target.h"

namespace steelyard::compute::cpu {

/// Consecutive tokens of one head. Keys and queries are normed, and queries are also divided by sqrt(head).
struct DeltaHead {
  int64_t n;           ///< tokens
  int64_t head;        ///< width of keys, queries and values
  const float* k;      ///< [n, head]
  const float* q;      ///< [n, head]; by channel: times the decay
  const float* kq;     ///< [n] k.q of each token
  const float* decay;  ///< [n] factor of the state; by channel: [n, head], of each of its rows
  const float* beta;   ///< [n] factor of the correction
  const float* v;      ///< [n, head]
  float* out;          ///< [n, head] with out_stride
  int64_t out_stride;
  float* state;                      ///< head * head: blocks of columns, each [head, width of the block]
  const float* decayed_k = nullptr;  ///< [n, head] k times the decay: by channel; else null
};

struct DeltaNetKernels {
  const char* target;  ///< the target that these were compiled for

  void (*delta_rule)(const DeltaHead& head);
  /// out[c] = bias[c] + sum over i < n_taps of taps[i * taps_stride + c] * rows[i][c], or silu of that, c < n. Without
  /// a bias it is null.
  void (*conv)(const float* const* rows, const float* taps, int64_t taps_stride, int64_t n_taps, const float* bias,
               float* out, int64_t n);
  void (*conv_silu)(const float* const* rows, const float* taps, int64_t taps_stride, int64_t n_taps, const float* bias,
                    float* out, int64_t n);
  /// x[i] *= sigmoid(gate[i]).
  void (*sigmoid_gate)(float* x, const float* gate, int64_t n);
};

/// The kernels of one target, which the processor must support.
const DeltaNetKernels& delta_net_kernels(simd::Target target);

}  // namespace steelyard::compute::cpu
