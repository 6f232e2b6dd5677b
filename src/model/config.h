// What an architecture says about itself: plain data that forward.cc interprets. Filled from metadata by
// model/arch/*.cc.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "compute/scratch.h"

namespace steelyard::model {

// The forward pass is formulas over these, and reads as such only when they are short.
using compute::Backend, compute::Buffer, compute::Matrix, compute::Routing, compute::Scratch, compute::Weight;

enum class RopeScaling { kNone, kLinear, kYarn, kLongrope };

/// Rotary position embedding; see rope_table.h for the angles.
struct RopeConfig {
  compute::RopePairs pairs = compute::RopePairs::kNorm;
  int64_t n_dims = 0;
  double freq_base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;             ///< context extension, >= 1
  int64_t original_context = 0;  ///< of the model before extension (YaRN, longrope)
  double magnitude = 1;          ///< multiplies cos and sin
  /// Pairs that multi-section RoPE gives to time, height, width and a fourth position; all 0: it is not multi-section.
  std::array<int64_t, 4> sections{};

  bool operator==(const RopeConfig&) const = default;
};

enum class Mixer {
  kAttention,  ///< attn_q, attn_k, attn_v, attn_output with grouped heads
  kLatent,     ///< multi-head latent attention in its absorbed form (DeepSeek-V2 report, section 2.1)
  kDeltaNet,   ///< gated delta net: a causal convolution and a recurrence instead of attention (see DeltaRuleArgs)
};

/// Gated delta net; all heads, of keys and of values, are `head` wide.
struct DeltaNetConfig {
  int64_t n_head = 0;    ///< of values
  int64_t n_head_k = 0;  ///< of queries and keys
  int64_t head = 0;
  int64_t n_taps = 0;  ///< of the convolution
  /// Value head h uses key head h % n_head_k, and ssm_beta and ssm_alpha are two tensors. Else neighbouring value heads
  /// share a key head, and ssm_ba is one tensor.
  bool tiled = false;

  int64_t key_width() const { return n_head_k * head; }
  int64_t value_width() const { return n_head * head; }
  int64_t conv_width() const { return 2 * key_width() + value_width(); }  ///< [queries | keys | values]

  bool operator==(const DeltaNetConfig&) const = default;
};

struct AttentionConfig {
  Mixer mixer = Mixer::kAttention;
  int64_t n_head = 0;
  int64_t n_head_kv = 0;
  int64_t head_k = 0;  ///< width of a query/key head; latent: without + with RoPE
  int64_t head_v = 0;  ///< width of a value head
  float scale = 0;     ///< of q.k before the softmax
  int64_t window = 0;  ///< positions that a query sees, its own included; 0: all
  RopeConfig rope;
  bool whole_norm = false;  ///< attn_q_norm and attn_k_norm span all heads instead of each head
  bool gated = false;       ///< attn_q gives per head a query and a gate, whose sigmoid multiplies the head's mix

  // Latent only.
  int64_t q_lora_rank = 0;   ///< 0: one full attn_q
  int64_t kv_lora_rank = 0;  ///< width of the cached latent
  bool expanded = false;     ///< files with attn_kv_b: keys and values of every head are computed and cached

  DeltaNetConfig delta_net;  ///< delta net only

  int64_t query_width() const { return n_head * head_k * (gated ? 2 : 1); }  ///< gates included
  int64_t n_nope() const { return head_k - rope.n_dims; }     ///< latent: columns of a query head without RoPE
  bool rotates() const { return mixer != Mixer::kDeltaNet; }  ///< positions act through `rope`
  bool absorbed() const { return mixer == Mixer::kLatent && !expanded; }
  int64_t key_width() const { return absorbed() ? kv_lora_rank + rope.n_dims : n_head_kv * head_k; }
  int64_t value_width() const { return absorbed() ? 0 : n_head_kv * head_v; }  ///< 0: a view of the keys

  bool operator==(const AttentionConfig&) const = default;
};

struct FfnConfig {
  compute::Activation activation = compute::Activation::kSwiglu;
  int64_t n_ff = 0;          ///< width of the dense FFN, or of one expert
  int64_t n_expert = 0;      ///< 0: dense
  int64_t n_ff_shared = 0;   ///< width of the shared expert, 0: none
  bool shared_gate = false;  ///< the shared expert is multiplied by sigmoid(ffn_gate_inp_shexp . x)
  int64_t n_used = 0;
  int64_t n_group = 1;
  int64_t n_group_used = 1;
  compute::Gating gating = compute::Gating::kSoftmax;
  bool normalize = false;
  float scale = 1;
};

struct LayerConfig {
  AttentionConfig attention;
  FfnConfig ffn;
  std::string ffn_norm = "ffn_norm";  ///< name of the norm before the FFN
  bool branch_norms = false;          ///< attention and FFN are normed once more before they join the residual stream
  /// Biases, norms of queries and keys, and sinks act where a file has them; these it must have.
  std::vector<std::string> required;
};

struct ModelConfig {
  std::string architecture;
  int64_t n_vocab = 0;
  int64_t n_embd = 0;
  int64_t n_context = 0;  ///< the model was made for
  float norm_eps = 0;
  float embedding_scale = 1;        ///< of token embeddings
  float logit_softcap = 0;          ///< c: logits become c tanh(logits / c); 0: they stay
  bool output_required = false;     ///< a missing output.weight is not replaced by token_embd
  std::vector<LayerConfig> layers;  ///< of the trunk
  /// Of the blocks after the trunk that predict further tokens (NextN, MTP); see schedule/prediction.h.
  std::vector<LayerConfig> prediction;

  /// Block i of the file: of the trunk, then those for prediction.
  const LayerConfig& block(size_t i) const { return i < layers.size() ? layers[i] : prediction.at(i - layers.size()); }
};

}  // namespace steelyard::model
