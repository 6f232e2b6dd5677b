// The arguments of operations (compute/operations.def) that are more than matrices: what each means, with the source of
// its formula.
#pragma once

#include <cstdint>

#include "compute/tensor.h"

namespace steelyard::compute {

/// Which pairs of a head RoPE rotates.
enum class RopePairs {
  kNorm,  ///< (v[2i], v[2i+1])
  kNeox,  ///< (v[i], v[i + n/2])
};

/// The activation between the two halves of a gated FFN: what becomes of a gate g and a value u. silu(z) = z / (1 +
/// e^-z).
struct Activation {
  enum Kind {
    kSwiglu,         ///< silu(g') u'; with a limit l g' = min(g, l) and u' is within [-l, l], else they are g and u
    kCappedSwiglu,   ///< min(silu(g), l) u', u' within [-l, l] (Step 3.5)
    kGeglu,          ///< gelu(g) u, gelu(z) = z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))
    kClampedSwiglu,  ///< g' / (1 + e^(-1.702 g')) (u' + 1), g' = min(g, 7), u' = u within [-7, 7] (gpt-oss)
    kSitu,           ///< l tanh(g / l) / (1 + e^-g) u', u' = m tanh(u / m), or u with m = 0 (Kimi K3)
    kReluSquared,    ///< max(g, 0)^2; u is not read
    kProduct,        ///< g u
  };
  Kind kind = kSwiglu;
  float limit = 0;     ///< l; 0: none
  float up_limit = 0;  ///< m

  constexpr Activation() = default;
  constexpr Activation(Kind of, float l = 0, float m = 0)  // NOLINT: a kind alone is an activation
      : kind(of), limit(l), up_limit(m) {}
  constexpr bool operator==(const Activation&) const = default;
};

/// What a gate g multiplies values with.
enum class Gate {
  kSigmoid,   ///< 1 / (1 + e^-g)
  kSoftplus,  ///< ln(1 + e^g)
};

/// RoPE of `n_head` heads that are `head_stride` columns apart; the first `n_dims` columns of each head rotate. cos,
/// sin: [n_positions, n_dims / 2], magnitude included; row t of x uses row first_position + t * step.
struct RopeArgs {
  int64_t n_head;
  int64_t head_stride;
  int64_t n_dims;
  RopePairs pairs;
  const float* cos;
  const float* sin;
  int64_t first_position;
  bool transposed = false;  ///< rotates by the negated angles: what turns the gradient of the result into that of x
  int64_t step = 1;
};

/// out[t] = W_slice x[t]; x: [n, n_in], out: [n, n_out]. With a routing each row uses the slice of its expert; x:
/// [n_slots, n_in].
struct Product {
  const Weight* weight;
  int64_t slice;
  Matrix x, out;
  const Routing* routing = nullptr;
};

/// Causal attention. q: [n, n_head * head_k] for positions first_position .. first_position + n - 1.
/// k: [first_position + n, n_head_kv * head_k], v: [.., n_head_kv * head_v] (for MLA a view of the first columns of k).
/// Query head h reads key head h * n_head_kv / n_head.
/// A query sees the keys of its own and earlier positions, with a window only those nearer than `window`. A sink is a
/// logit in its head's softmax without a value (gpt-oss); scale does not apply to it. The result of a query that sees
/// nothing is 0.
struct AttentionArgs {
  Matrix q;
  TypedRows k, v;  ///< heads of whole blocks
  int64_t n_head;
  int64_t n_head_kv;
  int64_t head_k;
  int64_t head_v;
  float scale;
  int64_t first_position;
  int64_t window = 0;            ///< 0: none; else the number of positions that a query sees, its own included
  const float* sinks = nullptr;  ///< [n_head] or null
  float softcap = 0;             ///< c: a score s, scaled, becomes c tanh(s / c); 0: it stays
  /// [n, keys], of at most k.rows: above 0 where a query sees a key. Then neither positions nor a window count. Without
  /// data: they do.
  Matrix visible = {};
};

/// Attention of one sequence's queries, and where its result goes [n, n_head * head_v].
struct Attention {
  AttentionArgs args;
  Matrix out;
};

/// The gated delta rule (Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks"; its inputs as Qwen3-Next prepares
/// them). Each head keeps a matrix S [head, head] of keys times values. Per token, with key and query divided by
/// sqrt(sum of squares + eps) first:
///   S *= exp(decay * softplus(alpha + dt));  u = sigmoid(beta) * (v - S^T k);  S += k u^T;  out = S^T q / sqrt(head).
/// Kimi delta attention (Kimi Linear report, 2025) forgets every key channel at its own pace: alpha and dt then have a
/// column for each, and multiply the rows of S. With a bound b the exponent is b * sigmoid(-decay * (alpha + dt)).
struct DeltaRuleArgs {
  Matrix q, k;         ///< [n, n_head_k * head]
  Matrix v;            ///< [n, n_head * head]
  Matrix beta;         ///< [n, n_head]
  Matrix alpha;        ///< [n, n_head], or by key channel [n, n_head * head]
  const float* decay;  ///< [n_head], <= 0
  const float* dt;     ///< as many as alpha's columns
  int64_t n_head;
  int64_t n_head_k;
  int64_t head;
  bool tiled;  ///< head h uses key head h % n_head_k; else h / (n_head / n_head_k)
  float eps;
  float bound = 0;  ///< b, < 0; 0: none

  bool by_channel() const { return alpha.cols != n_head; }

  int64_t key_head(int64_t h) const { return tiled ? h % n_head_k : h / (n_head / n_head_k); }
};

/// A causal convolution over tokens, column by column.
struct ConvArgs {
  const float* taps;  ///< [n_taps, cols], the oldest first
  int64_t n_taps;
  const float* bias = nullptr;  ///< [cols] or null
  bool silu = true;             ///< of the result
  int64_t dilation = 1;         ///< tokens from one tap to the next

  int64_t n_past() const { return (n_taps - 1) * dilation; }  ///< inputs that the state has
};

/// The recurrence of Mamba 2 (Dao, Gu 2024, "Transformers are SSMs"). Each head keeps a matrix S [head, n_state], and
/// shares b and c with the n_head / n_group heads of its group. Per token, with step = softplus(dt + dt_bias):
///   S = exp(step * decay) S + step * x b^T;  out = S c + skip * x.
struct StateSpaceArgs {
  Matrix x;                             ///< [n, n_head * head]
  Matrix b, c;                          ///< [n, n_group * n_state]
  Matrix dt;                            ///< [n, n_head]
  const float *dt_bias, *decay, *skip;  ///< [n_head]; decay <= 0
  int64_t n_head;
  int64_t head;
  int64_t n_group;
  int64_t n_state;
};

/// The mixing weights of hyper-connections (DeepSeek V4). From products m of a token's n residual streams: row t of m
/// is [pre (n) | post (n) | mix (n * n)], with one element of `scale` for each of the three parts.
///   pre = sigmoid(m scale + base) + eps;  post = 2 sigmoid(m scale + base);
///   mix[source][target] = softmax over targets of (m scale + base), + eps; then its columns (over sources) are divided
///   by their sums + eps, and n_iterations - 1 times its rows (over targets) and then its columns.
/// A matrix of n columns has pre alone.
struct HyperArgs {
  const float* base;   ///< as many as m's columns
  const float* scale;  ///< [3]; [1] for pre alone
  int64_t n_streams;
  int64_t n_iterations;
  float eps;
};

/// Which past entries a query may see, from their scores. Entry b stands for the positions of block b, `block` of them.
/// A query at position p chooses the n_best of the entries whose block is complete: b < (p + 1) / block.
struct SelectArgs {
  int64_t first_position;
  int64_t block;
  int64_t n_best;
  bool positions;  ///< columns of the result are positions, and those after the last complete block are visible, too;
                   ///< else they are entries
};

/// How a router's logits become expert weights (`expert_gating_func` of GGUF).
enum class Gating {
  kSoftmax = 1,
  kSigmoid = 2,
  kSoftmaxWeight = 3,  ///< softmax over the chosen only
  kSqrtSoftplus = 4,   ///< sqrt(ln(1 + e^z))
};

inline constexpr int64_t kMaxExpertGroups = 256;

/// bias: [n_expert] or null; steers the selection only. n_group > 1: experts form n_group equal groups, a group's score
/// is the sum of its two best, only the n_group_used best groups take part.
struct RouteArgs {
  Gating gating;
  const float* bias;
  int64_t n_used;
  int64_t n_group;
  int64_t n_group_used;
  bool normalize;                   ///< divide weights by max(sum, 2^-14)
  float scale;                      ///< then multiply
  const int32_t* chosen = nullptr;  ///< [n_tokens, n_used]: experts that are not selected but given; null: none
};

// ---- backward passes. Gradients are those of one scalar, the loss.

/// The gradient with respect to the stored scales of a weight's blocks (Format::read_scales), from the inputs x of a
/// product and the gradient of its results in place of `out`; sums: [n_slices, n_out, n_in / block_len, n_scales].
struct ScaleGradient {
  Product product;
  float* sums;
};

/// Keys and values must be F32; `out` is what attention gave, dq to dv have the shapes of q, k and v. dk and dv may be
/// views of one matrix, as k and v are with latent attention.
struct AttentionGradient {
  AttentionArgs args;
  Matrix out, dout;
  Matrix dq, dk, dv;
  float* dsinks = nullptr;  ///< [n_head] or null
};

/// Rows of a distribution over tokens: the probabilities of some tokens, each named once. What is left of 1 is that of
/// all others together.
struct TargetRows {
  int64_t n;
  const int32_t* tokens;  ///< [rows, n]; -1: none
  const float* probs;     ///< [rows, n]
};

/// What others have together is a difference of 1 and a sum. Less than this is rounding: of p it counts as nothing, and
/// q has at least as much.
inline constexpr double kLeastRest = 1e-6;

/// One step of Adam (Kingma, Ba 2015, algorithm 1) whose length is given in parts of a size: of `size`, or with
/// size 0 of each value's own magnitude.
struct AdamArgs {
  float rate;
  float size;
  float beta1, beta2;
  float correction1, correction2;  ///< 1 - beta^step
};

}  // namespace steelyard::compute
