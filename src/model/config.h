// What an architecture says about itself: plain data that forward.cc interprets. Filled from metadata by
// model/arch/*.cc.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
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
  /// YaRN: waves that turn more often than this within the original context stay, those that turn less often than
  /// beta_slow stretch.
  double beta_fast = 32;
  double beta_slow = 1;
  double magnitude = 1;  ///< multiplies cos and sin
  /// Pairs that multi-section RoPE gives to time, height, width and a fourth position; all 0: it is not multi-section.
  std::array<int64_t, 4> sections{};
  bool has_factors = true;        ///< rope_freqs.weight divides the frequencies, where the file has it
  bool factors_optional = false;  ///< longrope: without the tensors of its factors all of them are 1

  bool operator==(const RopeConfig&) const = default;
};

enum class Mixer {
  kNone,        ///< the layer is its FFN alone
  kAttention,   ///< attn_q, attn_k, attn_v, attn_output with grouped heads
  kLatent,      ///< multi-head latent attention in its absorbed form (DeepSeek-V2 report, section 2.1)
  kDeltaNet,    ///< gated delta net: a causal convolution and a recurrence instead of attention (see DeltaRuleArgs)
  kShortConv,   ///< a gated causal convolution instead of attention (LFM2)
  kStateSpace,  ///< Mamba 2: a causal convolution and a recurrence (see StateSpaceArgs)
  kKimiDelta,   ///< Kimi delta attention: as gated delta net, with a decay for each key channel
  kCompressed,  ///< attention to recent positions and to pooled ones, see CompressedConfig
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
  bool sigmoid_gate = false;  ///< of the output; else silu

  int64_t key_width() const { return n_head_k * head; }
  int64_t value_width() const { return n_head * head; }
  int64_t conv_width() const { return 2 * key_width() + value_width(); }  ///< [queries | keys | values]
  // Values of a sequence's state.
  int64_t rule_values() const { return value_width() * head; }
  int64_t conv_values() const { return (n_taps - 1) * conv_width(); }

  bool operator==(const DeltaNetConfig&) const = default;
};

/// What chooses the past positions that a query sees, when there are more than so many.
struct IndexerConfig {
  enum class Kind {
    kNone,
    kPositions,  ///< the best ones by the sum over heads of w relu(q . k) (DeepSeek-V3.2's lightning indexer)
    kPools,      ///< the best blocks by pooled keys, and the positions of the block that is not complete (GLM-5.3)
    kBlocks,     ///< blocks of positions for each key head (MiniMax-M3). It has tensors, but the choice is not built
  };
  Kind kind = Kind::kNone;
  int64_t n_head = 0;
  int64_t head = 0;                                      ///< width of a query head and of the key
  int64_t n_best = 0;                                    ///< positions or blocks that are chosen
  int64_t block = 1;                                     ///< positions of a block
  compute::RopePairs pairs = compute::RopePairs::kNorm;  ///< of queries and key; with the layer's angles
  float norm_eps = 0;                                    ///< of the layer norm of the key

  /// Whether not every position of a text of n is always seen. n_best and block are below 2^31.
  bool chooses(int64_t n) const { return kind != Kind::kNone && n > n_best * block; }
  bool is_built() const { return kind == Kind::kPositions || kind == Kind::kPools; }
  int64_t query_width() const { return n_head * head; }
  /// [queries | weights | key], and with pools what weighs the key.
  int64_t side_width() const { return query_width() + n_head + (kind == Kind::kPools ? 2 : 1) * head; }
  /// Of a cache for n positions.
  int64_t n_keys(int64_t n) const { return kind == Kind::kPools ? n / block : n; }
  int64_t pending_width() const { return kind == Kind::kPools ? (block - 1) * head : 0; }
  int64_t pending_values() const { return 2 * pending_width(); }  ///< of a state: keys and what weighs them

  bool operator==(const IndexerConfig&) const = default;
};

/// Whether a layer computes what it stores of past positions, or takes it from an earlier layer, through side columns
/// of hidden states.
enum class Sharing { kOwn, kGives, kTakes };

/// Short convolution of LFM2: what the convolution sees, and what it gives, is gated. Both are as wide as the model.
struct ShortConvConfig {
  int64_t width = 0;
  int64_t n_taps = 0;

  int64_t conv_values() const { return (n_taps - 1) * width; }  ///< of a sequence's state

  bool operator==(const ShortConvConfig&) const = default;
};

/// Mamba 2: n_head heads of `head` columns, each with a state of n_state columns for each of its own.
struct StateSpaceConfig {
  int64_t n_head = 0;
  int64_t head = 0;
  int64_t n_group = 0;  ///< of heads that share what they write and read with
  int64_t n_state = 0;
  int64_t n_taps = 0;  ///< of the convolution

  int64_t inner() const { return n_head * head; }
  int64_t conv_width() const { return inner() + 2 * n_group * n_state; }  ///< [values | writes | reads]
  int64_t in_width() const { return inner() + conv_width() + n_head; }    ///< [gates | conv_width | steps]
  // Values of a sequence's state.
  int64_t rule_values() const { return inner() * n_state; }
  int64_t conv_values() const { return (n_taps - 1) * conv_width(); }

  bool operator==(const StateSpaceConfig&) const = default;
};

/// Kimi delta attention; queries, keys and values have n_head heads of `head` columns each.
struct KimiDeltaConfig {
  int64_t n_head = 0;
  int64_t head = 0;
  int64_t n_taps = 0;  ///< of the convolutions of queries, keys and values
  float bound = 0;     ///< of decays, see DeltaRuleArgs; 0: none
  float eps = 0;       ///< in the normalization of queries and keys; 0: the model's

  int64_t width() const { return n_head * head; }
  // Values of a sequence's state.
  int64_t rule_values() const { return width() * head; }
  int64_t conv_values() const { return (n_taps - 1) * width(); }  ///< of one of the three convolutions

  bool operator==(const KimiDeltaConfig&) const = default;
};

/// Attention of DeepSeek V4. One vector per position serves all heads as key and value. Recent positions are seen
/// within the window; of earlier ones, blocks are pooled to one entry each.
struct CompressedConfig {
  int64_t block = 0;      ///< positions per entry; 0: there are no entries
  bool overlaps = false;  ///< an entry pools the block before its own, too
  // An indexer chooses the entries that a query sees.
  int64_t n_index_head = 0;  ///< 0: there is none, and a query sees all
  int64_t index_head = 0;
  int64_t n_best = 0;  ///< entries that it chooses
  // The product after the heads is one of low rank, group by group.
  int64_t n_group = 1;
  int64_t group_rank = 0;

  int64_t n_entries(int64_t n_positions) const { return block > 0 ? n_positions / block : 0; }
  int64_t n_halves() const { return overlaps ? 2 : 1; }  ///< of what is pooled: for the next block's entry, for its own
  bool has_index() const { return block > 0 && n_index_head > 0; }
  /// Positions whose entries may still change.
  int64_t n_pending() const { return block > 0 ? n_halves() * block - 1 : 0; }

  bool operator==(const CompressedConfig&) const = default;
};

/// Embeddings of the last few tokens together, which a layer adds before its mixer (Qwen 4). For each length of grams
/// 2 .. n, heads hash the tokens to rows of a table; a token's rows side by side are as wide as the model.
struct NgramConfig {
  int64_t n = 0;                         ///< tokens of the longest grams; 0: there are none
  int64_t head_width = 0;                ///< of a row
  int64_t n_taps = 0;                    ///< of the convolution over what is added, whose taps are n tokens apart
  int64_t stream_width = 0;              ///< of all residual streams
  int64_t end_of_text = 0;               ///< grams do not reach to or beyond this token, and have it for what they lack
  std::vector<uint64_t> factors;         ///< [n] of tokens, the current one's first
  std::vector<int64_t> offsets, n_rows;  ///< [(n - 1) * heads]: the part of the table that a head hashes to

  bool exists() const { return n > 0; }
  int64_t heads_per_length() const { return std::ssize(offsets) / (n - 1); }
  // Values of a sequence's state.
  int64_t conv_values() const { return exists() ? (n_taps - 1) * n * stream_width : 0; }
  int64_t n_past() const { return exists() ? n - 1 : 0; }  ///< tokens

  bool operator==(const NgramConfig&) const = default;
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
  bool unrotated = false;  ///< no RoPE; latent: rope.n_dims columns are there all the same
  float softcap = 0;       ///< c: a score s, scaled, becomes c tanh(s / c); 0: it stays
  /// t: a query at position p is multiplied by 1 + t ln(floor(p / temperature_length) + 1); 0: it stays.
  float temperature = 0;
  int64_t temperature_length = 0;
  bool whole_norm = false;       ///< attn_q_norm and attn_k_norm span all heads instead of each head
  bool norm_after_rope = false;  ///< attn_q_norm and attn_k_norm follow RoPE, else they come before it
  bool gated = false;            ///< attn_q gives per head a query and a gate, whose sigmoid multiplies the head's mix
  /// What the products with attn_gate, one per head or one per value, multiply the heads' mix with.
  std::optional<compute::Gate> output_gate;
  float output_scale = 1;  ///< multiplies what attn_output gives

  bool value_norm = false;      ///< values are normed per head, without gains
  bool values_of_keys = false;  ///< without attn_v the products with attn_k are the values

  IndexerConfig indexer;
  /// Of what the indexer computes; in a layer without one, of keys and values.
  Sharing sharing = Sharing::kOwn;
  int64_t side_begin = 0;  ///< first side column of what is given or taken
  bool takes_keys() const { return sharing == Sharing::kTakes && indexer.kind == IndexerConfig::Kind::kNone; }
  int64_t side_width() const {
    return indexer.kind != IndexerConfig::Kind::kNone ? indexer.side_width() : key_width() + value_width();
  }

  // Latent only.
  int64_t q_lora_rank = 0;   ///< 0: one full attn_q
  int64_t kv_lora_rank = 0;  ///< width of the cached latent
  bool expanded = false;     ///< files with attn_kv_b: keys and values of every head are computed and cached

  // One mixer's each.
  DeltaNetConfig delta_net;
  ShortConvConfig short_conv;
  StateSpaceConfig state_space;
  KimiDeltaConfig kimi_delta;
  CompressedConfig compressed;

  NgramConfig ngrams;  ///< before the mixer

  int64_t query_width() const { return n_head * head_k * (gated ? 2 : 1); }  ///< gates included
  int64_t n_nope() const { return head_k - rope.n_dims; }  ///< latent: columns of a query head without RoPE
  bool attends() const {                                   ///< to cached positions
    return mixer == Mixer::kAttention || mixer == Mixer::kLatent || mixer == Mixer::kCompressed;
  }
  bool rotates() const { return attends() && !unrotated && rope.n_dims > 0; }  ///< positions act through `rope`
  bool absorbed() const { return mixer == Mixer::kLatent && !expanded; }
  int64_t key_width() const { return absorbed() ? kv_lora_rank + rope.n_dims : n_head_kv * head_k; }
  /// 0: a view of the keys.
  int64_t value_width() const { return absorbed() || mixer == Mixer::kCompressed ? 0 : n_head_kv * head_v; }

  bool operator==(const AttentionConfig&) const = default;
};

struct FfnConfig {
  compute::Activation activation = compute::Activation::kSwiglu;
  int64_t n_ff = 0;          ///< width of the dense FFN, or of one expert
  bool fused = false;        ///< dense: ffn_up has the gates before its own columns, there is no ffn_gate
  int64_t n_expert = 0;      ///< 0: dense
  int64_t n_ff_shared = 0;   ///< width of the shared expert, 0: none
  bool shared_gate = false;  ///< the shared expert is multiplied by sigmoid(ffn_gate_inp_shexp . x)
  /// The shared expert (ffn_gate, ffn_up, ffn_down), the routed ones and the router each read a norm of their own, and
  /// what both give is normed before it is added up. The experts' outputs may have scales.
  bool own_norms = false;
  std::optional<compute::Activation> shared_activation;  ///< of the shared expert, where it has another one
  int64_t n_latent = 0;               ///< width of what routed experts read and write; 0: the model's
  std::string latent = "ffn_latent";  ///< what the tensors around these experts are called: _down, _norm, _up
  bool exists() const { return n_ff > 0 || n_expert > 0; }  ///< else the layer is its mixer alone
  bool has_gate() const { return activation.kind != compute::Activation::kReluSquared; }  ///< beside the up projection
  int64_t expert_width(int64_t n_embd) const { return n_latent > 0 ? n_latent : n_embd; }
  int64_t n_used = 0;
  int64_t n_group = 1;
  int64_t n_group_used = 1;
  compute::Gating gating = compute::Gating::kSoftmax;
  bool normalize = false;
  float scale = 1;
  bool by_token = false;  ///< a table (ffn_gate_tid2eid) gives each token its experts, which are not selected
};

/// What a token carries from layer to layer: a row of hidden states [n streams of n_embd | n_side | id].
struct StreamsConfig {
  /// How a layer's branches read the streams, and add to them (residual.h).
  enum class Kind {
    kOne,       ///< a branch reads the stream and adds to it
    kParallel,  ///< both branches read what the layer began with, which a second stream keeps meanwhile
    kBanked,    ///< a branch reads a mixture of the stream and of states that layers put aside in the others (Kimi K3)
    kHyper,     ///< hyper-connections: weights for each token mix the streams (see HyperArgs)
    kLowRank,   ///< a branch reads the mean of the normed streams, gated by a product of low rank (Qwen 4)
  };
  Kind kind = Kind::kOne;
  int64_t n = 1;
  int64_t n_embd = 0;        ///< the model's
  int64_t n_side = 0;        ///< columns in which earlier layers leave something for later ones
  bool has_id = false;       ///< the last column is the token's id, for layers that look something up by it
  int64_t n_iterations = 1;  ///< kHyper: of making the mix doubly stochastic
  float eps = 0;             ///< kHyper: added where weights are divided
  bool mean_head = false;    ///< kHyper: the head reads the mean of the streams, else a mix with weights of its own
  int64_t low_rank = 0;      ///< kLowRank

  int64_t row_width() const { return n * n_embd + n_side + (has_id ? 1 : 0); }
  Matrix stream(Matrix x, int64_t i) const { return x.columns(i * n_embd, n_embd); }
  Matrix all(Matrix x) const { return x.columns(0, n * n_embd); }
  Matrix side(Matrix x) const { return x.columns(n * n_embd, n_side); }
  Matrix id(Matrix x) const { return x.columns(n * n_embd + n_side, 1); }
};

/// A layer's own embedding of the token (Gemma 3n, 4), which it adds after its FFN: a piece of a row of a table, and
/// of a projection of the model's embedding, which the second residual stream keeps.
struct LayerEmbeddingConfig {
  int64_t width = 0;  ///< 0: there is none
  int64_t layer = 0;  ///< whose piece it is
  int64_t n_layers = 0;
};

struct LayerConfig {
  AttentionConfig attention;
  FfnConfig ffn;
  LayerEmbeddingConfig embedding;
  StreamsConfig streams;              ///< the model's
  std::string ffn_norm = "ffn_norm";  ///< name of the norm before the FFN
  bool input_norms = true;            ///< attention and FFN read a norm of the residual stream, else the stream
  bool centered_norms = false;        ///< these norms subtract the mean first (layer norm)
  bool branch_norms = false;          ///< attention and FFN are normed once more before they join the residual stream
  float branch_scale = 1;             ///< multiplies both before they do
  int64_t n_banked = 0;               ///< states that earlier layers have put aside in residual streams 1, 2, ..
  bool banks = false;                 ///< the layer puts aside what it begins with; its mixer's output takes its place
  /// Biases, norms of queries and keys, and sinks act where a file has them; these it must have.
  std::vector<std::string> required;
};

struct ModelConfig {
  std::string architecture;
  int64_t n_vocab = 0;
  int64_t n_embd = 0;
  int64_t n_context = 0;  ///< the model was made for
  float norm_eps = 0;
  StreamsConfig streams;
  float embedding_scale = 1;                ///< of token embeddings
  float logit_scale = 1;                    ///< of logits
  bool centered_norm = false;               ///< the last norm subtracts the mean first (layer norm)
  std::string output_norm = "output_norm";  ///< name of the last norm; empty: there is none
  float logit_softcap = 0;                  ///< c: logits become c tanh(logits / c); 0: they stay
  bool output_required = false;             ///< a missing output.weight is not replaced by token_embd
  bool output_tied = false;                 ///< token_embd is the output, even of a file with output.weight
  std::vector<LayerConfig> layers;          ///< of the trunk
  bool centered_prediction = false;         ///< so does the last norm of the blocks for prediction
  /// Of the blocks after the trunk that predict further tokens (NextN, MTP); see schedule/prediction.h.
  std::vector<LayerConfig> prediction;
  bool prediction_of_normed = true;  ///< these read hidden states after the last norm, else before it
  bool runs_prediction = true;       ///< else files may have these blocks, and they are not run

  int64_t hidden_width() const { return streams.row_width(); }

  /// Block i of the file: of the trunk, then those for prediction.
  const LayerConfig& block(size_t i) const { return i < layers.size() ? layers[i] : prediction.at(i - layers.size()); }
  LayerConfig& block(size_t i) { return i < layers.size() ? layers[i] : prediction.at(i - layers.size()); }
};

}  // namespace steelyard::model
