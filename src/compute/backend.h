// The list of operations that a forward pass needs from a device. Operations are batch-first (a prompt and a single
// token are the same call) and coarse. A backend hides memory and streams, and nothing else.
//
// ref/ is scalar and obvious, and is the specification. Every other backend is tested against it, operation by
// operation. Implementations are called from one thread; they are parallel inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "compute/tensor.h"

namespace steelyard::compute {

/// Device memory, freed with the last copy of the handle.
using Buffer = std::shared_ptr<std::byte>;

/// Which pairs of a head RoPE rotates.
enum class RopePairs {
  kNorm,  ///< (v[2i], v[2i+1])
  kNeox,  ///< (v[i], v[i + n/2])
};

/// The activation between the two halves of a gated FFN.
enum class Activation {
  kSwiglu,         ///< silu(g) u, silu(z) = z / (1 + e^-z)
  kGeglu,          ///< gelu(g) u, gelu(z) = z / 2 (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3)))
  kClampedSwiglu,  ///< g' / (1 + e^(-1.702 g')) (u' + 1), g' = min(g, 7), u' = u within [-7, 7] (gpt-oss)
};

/// RoPE of `n_head` heads that are `head_stride` columns apart; the first `n_dims` columns of each head rotate. cos,
/// sin: [n_positions, n_dims / 2], magnitude included; row t of x uses row first_position + t.
struct RopeArgs {
  int64_t n_head;
  int64_t head_stride;
  int64_t n_dims;
  RopePairs pairs;
  const float* cos;
  const float* sin;
  int64_t first_position;
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
/// logit in its head's softmax without a value (gpt-oss); scale does not apply to it.
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
struct DeltaRuleArgs {
  Matrix q, k;         ///< [n, n_head_k * head]
  Matrix v;            ///< [n, n_head * head]
  Matrix beta, alpha;  ///< [n, n_head]
  const float* decay;  ///< [n_head], <= 0
  const float* dt;     ///< [n_head]
  int64_t n_head;
  int64_t n_head_k;
  int64_t head;
  bool tiled;  ///< head h uses key head h % n_head_k; else h / (n_head / n_head_k)
  float eps;

  int64_t key_head(int64_t h) const { return tiled ? h % n_head_k : h / (n_head / n_head_k); }
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
  bool normalize;  ///< divide weights by max(sum, 2^-14)
  float scale;     ///< then multiply
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // ---- memory
  /// Bytes of free memory; nothing where that is the host's, which is not planned.
  virtual std::optional<uint64_t> free_memory() const { return std::nullopt; }
  virtual Buffer allocate(size_t bytes) = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void zero(void* device, size_t bytes) = 0;
  /// New memory with a copy of the host's, which may change afterwards. This and load() may be called while another
  /// thread runs operations.
  virtual Buffer allocate_copy(const void* host, size_t bytes) {
    Buffer memory = allocate(bytes);
    upload(memory.get(), host, bytes);
    return memory;
  }
  /// Makes the weight's bytes usable by operations. They lie in host memory, and must outlive the backend's use of
  /// them.
  virtual Weight load(Weight host) = 0;

  // ---- operations
#define OPERATION(name, ...) virtual void name(__VA_ARGS__) = 0;
#define HOST_OPERATION OPERATION
#include "compute/operations.def"

  /// One product of mul_mats.
  void mul_mat(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
    const Product product{&weight, slice, x, out};
    mul_mats({&product, 1});
  }
  /// Attention of one sequence alone.
  void attention(const AttentionArgs& args, Matrix out) {
    const Attention one{args, out};
    attentions({&one, 1});
  }
};

/// How matrix products round activations. Weights are always decoded exactly.
enum class Precision {
  kExact,  ///< F32: what is measured is the error of the weights alone
  kFast,   ///< may round activations and sums to integers where that is faster
};

/// A backend by its name, as compute/backends.def lists them. Error for an unknown name, for one that this program was
/// built without, and where there is no such device. ref is always exact.
std::unique_ptr<Backend> make_backend(std::string_view name, Precision precision = Precision::kExact);

}  // namespace steelyard::compute
