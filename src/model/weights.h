// The tensors of a model under the names they have in the forward pass. Absent tensors are empty. Shapes were checked
// against the configuration when they were bound, so the forward pass needs no checks.
#pragma once

#include <map>
#include <string>

#include "compute/backend.h"
#include "gguf/source.h"
#include "model/config.h"

namespace steelyard::model {

/// An F32 vector (norm, bias) in backend memory; null data when the tensor is absent.
struct Vector {
  Buffer memory;
  const float* data = nullptr;
  int64_t n = 0;
};

/// Gated delta net; d = head, Q = key_width, V = value_width, H = heads of values.
struct DeltaNetWeights {
  Weight qkv;          // attn_qkv [D, 2Q + V]
  Weight gate;         // attn_gate [D, V]
  Weight in;           // ssm_in [D, 2Q + 2V]: both in files of the old layout, interleaved by key head
  Weight beta, alpha;  // [D, H] each
  Weight beta_alpha;   // ssm_ba [D, 2H]: both, interleaved by key head
  Vector conv;         // ssm_conv1d [2Q + V, taps]: a row per tap, oldest first
  Vector dt, decay;    // ssm_dt.bias, ssm_a [H]
  Vector norm;         // ssm_norm [d]
  Weight output;       // ssm_out [V, D]
};

/// n = heads, d = width of a head. Of Kind::kBlocks: indexer.q_proj [D, n*d], indexer.k_proj [D, d].
struct IndexerWeights {
  Weight q;                    // indexer.attn_q_b [q_lora_rank, n*d]
  Weight k;                    // indexer.attn_k [D, d]
  Weight head_weights;         // indexer.proj [D, n]
  Weight gate;                 // of pools: indexer_compressor_gate [D, d], the softmax of which weighs the keys
  Vector place;                // of pools: indexer_compressor_ape [d, block], added to `gate` by place in the block
  Vector k_norm, k_norm_bias;  // [d] each
};

/// Short convolution; D = n_embd.
struct ShortConvWeights {
  Weight in;      // shortconv.in_proj [D, 3D]: [what gates the input | what gates the result | the input]
  Vector conv;    // shortconv.conv [D, taps]: a row per tap, oldest first
  Weight output;  // shortconv.out_proj [D, D]
};

/// Mamba 2; I = inner, H = heads, G = groups.
struct StateSpaceWeights {
  Weight in;               // ssm_in [D, in_width]
  Vector conv, conv_bias;  // ssm_conv1d [conv_width, taps]: a row per tap, oldest first; [conv_width]
  Vector dt, decay, skip;  // ssm_dt.bias, ssm_a, ssm_d [H]
  Vector norm;             // ssm_norm [I / G, G]
  Weight output;           // ssm_out [I, D]
};

/// Kimi delta attention; d = head, W = n_head * head. Queries, keys, values and output are the attention's.
struct KimiDeltaWeights {
  Vector conv_q, conv_k, conv_v;  // ssm_conv1d_q, _k, _v [W, taps]: a row per tap, oldest first
  Weight decay_in, decay_out;     // ssm_f_a [D, d], ssm_f_b [d, W]
  Vector dt, decay;               // ssm_dt.bias [W], ssm_a [H]
  Weight beta;                    // ssm_beta [D, H]
  Weight gate_in, gate_out;       // ssm_g_a [D, d], ssm_g_b [d, W]
  Weight gate;                    // ssm_g [D, W]: instead of both
  Vector norm;                    // ssm_norm [d]
};

/// What pools positions to entries of width W; O = 2 where blocks overlap, else 1.
struct CompressorWeights {
  Weight kv, gate;  // [D, O*W]: what is pooled, and the softmax of the weights with which it is
  Vector place;     // ape [O*W, block]: added to `gate` by place in the block
  Vector norm;      // [W]
};

/// Compressed attention; G = groups, r = their rank.
struct CompressedWeights {
  Weight kv;                  // attn_kv [D, head_k]
  CompressorWeights entries;  // attn_compressor_*
  Weight index_q,
      index_mix;  // indexer.attn_q_b [q_lora_rank, n_index_head * index_head], indexer.proj [D, n_index_head]
  CompressorWeights index_keys;  // indexer_compressor_*
  Weight output_a;               // attn_output_a [H*head_k/G, r, G]; the other product is AttentionWeights::output
  bool output_a_flat = false;    // [H*head_k/G, r*G] in the file
};

/// How a branch reads the residual streams and adds to them; n streams.
struct StreamsWeights {
  Weight fn;           // [n*D, n*(2 + n)]: products for the weights of a token; of the head [n*D, n]
  Vector base, scale;  // see HyperArgs
  Vector score;        // kBanked, instead: attn_res_score, ffn_res_score, of the head output_res_score [D]
  // kLowRank, instead; l = low_rank:
  Vector norm;      // [D, n]
  Weight down, up;  // [n*D, l], [l, n*D]: of the gates of what is read
  Weight inject;    // [n*D, n]: of the gates of what is added
};

/// See NgramConfig; S = residual streams.
struct NgramWeights {
  Weight table;       // per_layer_token_embd [head_width, rows], in host memory
  Weight key;         // ple_key [D, S*D]
  Weight value;       // ple_value [D, D]
  Vector key_norm;    // ple_norm_key [D, S]
  Vector query_norm;  // ple_norm_query [D, S]
  Vector conv_norm;   // ple_norm_conv [D, S]
  Vector conv;        // ple_conv1d [S*D, taps]: a row per tap, oldest first
};

/// Shapes are [in, out]; D = n_embd, H = heads, K = key/value heads.
struct AttentionWeights {
  Vector norm;  // attn_norm [D]

  Weight qkv;  // [D, query_width + K*(head_k + head_v)]: all three in one; then q, k, v are absent
  Vector qkv_bias;
  Weight q, k, v;  // [D, query_width], [D, K*head_k], [D, K*head_v]; latent without q LoRA uses q
  Vector q_bias, k_bias, v_bias;
  Vector q_norm, k_norm;  // [head_k] each, whole_norm: [H*head_k], [K*head_k]
  Vector sinks;           // [H]
  Weight gate;            // attn_gate [D, H] or [D, H*head_v]
  Weight output;          // [H*head_v, D]
  Vector output_bias;
  Vector branch_norm;  // post_attention_norm [D]

  // Latent; R = kv_lora_rank, r = RoPE columns.
  Weight q_a;        // [D, q_lora_rank]
  Vector q_a_norm;   // [q_lora_rank]
  Weight q_b;        // [q_lora_rank, H*head_k]
  Weight kv_a;       // attn_kv_a_mqa [D, R + r]
  Vector kv_a_norm;  // [R]
  Weight k_b;        // [n_nope, R, H]
  Weight v_b;        // [R, head_v, H]
  Weight kv_b;       // [R, H*(n_nope + head_v)]: k_b and v_b of files with expanded keys and values

  // One mixer's each.
  DeltaNetWeights delta_net;
  IndexerWeights indexer;
  ShortConvWeights short_conv;
  StateSpaceWeights state_space;
  KimiDeltaWeights kimi_delta;
  CompressedWeights compressed;
};

/// E = experts, F = width of an expert or of the dense FFN.
struct FfnWeights {
  Vector norm;                            // [D], see LayerConfig::ffn_norm
  Weight gate, up, down;                  // [D, F], [D, F], [F, D]; with experts: the shared expert
  Weight gate_up;                         // ffn_up [D, 2F]: the first two in one, which then are absent
  Weight shared_gate;                     // ffn_gate_inp_shexp [D, 1]
  Vector gate_bias, up_bias, down_bias;   // [F], [F], [D]
  Weight latent_down, latent_up;          // [D, R], [R, D], see FfnConfig::latent; the experts then have R for D
  Vector latent_norm;                     // [R]: of what routed experts give together
  Weight router;                          // ffn_gate_inp [D, E]
  Vector router_bias;                     // [E]
  Vector selection_bias;                  // exp_probs_b [E], steers the selection only
  std::vector<int32_t> experts_of_token;  // ffn_gate_tid2eid [n_used, V] in host memory: instead of a selection
  Weight gate_up_exps;                    // [D, 2F, E]: the next two in one, which then are absent
  Weight gate_exps, up_exps, down_exps;   // [D, F, E], [D, F, E], [F, D, E]
  Vector gate_up_exps_bias, gate_exps_bias, up_exps_bias, down_exps_bias;  // [2F, E], [F, E], [F, E], [D, E]
  Vector branch_norm;                                                      // post_ffw_norm [D]
  // FfnConfig::own_norms.
  Vector router_norm;                        // ffn_gate_inp.scale / sqrt(D) [D]
  Vector experts_norm;                       // pre_ffw_norm_2 [D]
  Vector shared_out_norm, experts_out_norm;  // post_ffw_norm_1, post_ffw_norm_2 [D]
  Vector down_exps_scale;                    // ffn_down_exps.scale [E], as rows [D, E]
};

/// A layer's own embedding; P = width.
struct LayerEmbeddingWeights {
  Weight table;     // per_layer_token_embd [P*L, V], where the file is: only rows of it are needed
  Weight model;     // the layer's rows of per_layer_model_proj [D, P*L]: [D, P]
  Vector norm;      // per_layer_proj_norm [P]
  Weight gate;      // inp_gate [D, P]
  Weight output;    // proj [P, D]
  Vector out_norm;  // post_norm [D]
};

struct LayerWeights {
  AttentionWeights attention;
  FfnWeights ffn;
  StreamsWeights mixer_streams, ffn_streams;
  NgramWeights ngrams = {};
  LayerEmbeddingWeights embedding = {};
  float output_scale = 1;  // layer_output_scale [1]: multiplies the stream at the layer's end
};

/// The tensors of a prediction block besides those of a layer; see schedule/prediction.h.
struct PredictionWeights {
  Weight eh_proj;       // nextn.eh_proj [2D, D]
  Vector enorm, hnorm;  // [D] each
  Weight token_embd;    // nextn.embed_tokens [D, V]; empty: the trunk's
  Vector output_norm;   // nextn.shared_head_norm, else layer_output_norm [D]; empty: the trunk's
  Weight output;        // nextn.shared_head_head [D, V]; empty: the trunk's
};

/// The tensors outside of layers. output is token_embd when the file has no output.weight.
struct TrunkWeights {
  Weight token_embd;  // [D, V]
  Vector output_norm;
  Weight output;  // [D, V]
  Vector output_bias;
  StreamsWeights streams;  // of the head
  // Divisors of RoPE's frequencies [n_dims / 2] or empty, in host memory. The long ones are for texts beyond the
  // original context. Without longrope both are rope_freqs.
  std::vector<float> rope_short, rope_long;
};

/// Tensors by full name that are in a backend's memory. Binding takes them from here, and adds those that it loads. So
/// a layer can be bound again without being loaded again, and others of the same shape can replace the file's. Of
/// vectors this holds those that lie as in the file.
struct LoadedTensors {
  std::map<std::string, Weight> weights;
  std::map<std::string, Vector> vectors;
  /// Weights that have scales (Format::n_scales) get memory of their own: scales may be changed.
  bool writable = false;
  /// The embedding is among the weights, where all layers are on one backend. It has no gradients.
  bool embedding = false;
};

/// Binds tensors of `reader` for `backend`. Error naming file and tensor when one is missing or has another shape. The
/// embedding goes to `first`, everything else to `last`; a tensor that is both goes to both.
TrunkWeights bind_trunk(const gguf::Source& reader, const ModelConfig& config, Backend& first, Backend& last,
                        LoadedTensors* loaded = nullptr);
/// Whether the file has block n_layers + i of config.prediction; files may be cut to the trunk.
bool has_prediction(const gguf::Source& reader, const ModelConfig& config, int i);
PredictionWeights bind_prediction(const gguf::Source& reader, const ModelConfig& config, int i, Backend& backend);
/// `layer` is the block's number in the file, prediction blocks included.
LayerWeights bind_layer(const gguf::Source& reader, const ModelConfig& config, int layer, Backend& backend,
                        LoadedTensors* loaded = nullptr);

}  // namespace steelyard::model
