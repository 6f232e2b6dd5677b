#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/binder.h"
#include "model/inventory.h"

namespace steelyard::model {
namespace {

void bind_indexer(const Binder& binder, const AttentionConfig& config, int64_t n_embd, IndexerWeights& w) {
  const IndexerConfig& indexer = config.indexer;
  if (indexer.kind == IndexerConfig::Kind::kNone || config.sharing == Sharing::kTakes) return;
  if (indexer.kind == IndexerConfig::Kind::kBlocks) {
    w.q = binder.weight("indexer.q_proj.weight", n_embd, indexer.query_width());
    w.k = binder.weight("indexer.k_proj.weight", n_embd, indexer.head);
    for (const char* const norm : {"indexer.q_norm.weight", "indexer.k_norm.weight"}) binder.expect(norm);
    return;
  }
  w.q = binder.weight("indexer.attn_q_b.weight", config.q_lora_rank, indexer.query_width());
  w.k = binder.weight("indexer.attn_k.weight", n_embd, indexer.head);
  w.head_weights = binder.weight("indexer.proj.weight", n_embd, indexer.n_head);
  w.k_norm = binder.vector("indexer.k_norm.weight", indexer.head);
  w.k_norm_bias = binder.vector("indexer.k_norm.bias", indexer.head);
  if (indexer.kind != IndexerConfig::Kind::kPools) return;
  w.gate = binder.weight("indexer_compressor_gate.weight", n_embd, indexer.head);
  w.place = binder.vector("indexer_compressor_ape.weight", indexer.head, indexer.block);
}

void bind_latent(const Binder& binder, const AttentionConfig& config, int64_t n_embd, AttentionWeights& w) {
  const int64_t rank = config.kv_lora_rank, q_rank = config.q_lora_rank, q_width = config.n_head * config.head_k;
  w.q = binder.weight_if(q_rank == 0, "attn_q.weight", n_embd, q_width);
  w.q_a = binder.weight_if(q_rank > 0, "attn_q_a.weight", n_embd, q_rank);
  w.q_a_norm = binder.vector_if(q_rank > 0, "attn_q_a_norm.weight", q_rank);
  w.q_b = binder.weight_if(q_rank > 0, "attn_q_b.weight", q_rank, q_width);
  w.kv_a = binder.weight("attn_kv_a_mqa.weight", n_embd, rank + config.rope.n_dims);
  w.kv_a_norm = binder.vector("attn_kv_a_norm.weight", rank);
  const int64_t expanded = config.n_head * (config.n_nope() + config.head_v);
  w.kv_b = binder.weight_if(config.expanded, "attn_kv_b.weight", rank, expanded);
  w.k_b = binder.weight_if(!config.expanded, "attn_k_b.weight", config.n_nope(), rank, config.n_head);
  w.v_b = binder.weight_if(!config.expanded, "attn_v_b.weight", rank, config.head_v, config.n_head);
  // Some files have both forms. One of them is enough.
  for (const char* const form : {"attn_kv_b.weight", "attn_k_b.weight", "attn_v_b.weight"}) binder.expect(form);
}

void bind_heads(const Binder& binder, const AttentionConfig& config, int64_t n_embd, AttentionWeights& w) {
  const int64_t q_width = config.query_width();
  const int64_t k_width = config.n_head_kv * config.head_k, v_width = config.n_head_kv * config.head_v;
  w.qkv = binder.optional_weight("attn_qkv.weight", n_embd, q_width + k_width + v_width);
  w.qkv_bias = binder.optional("attn_qkv.bias", q_width + k_width + v_width);
  const bool apart = w.qkv.empty();
  w.q = binder.weight_if(apart, "attn_q.weight", n_embd, q_width);
  w.q_bias = binder.optional("attn_q.bias", q_width);
  w.sinks = binder.optional("attn_sinks.weight", config.n_head);
  if (config.takes_keys()) {  // then its own are unused, where there are any
    w.q_norm = binder.optional("attn_q_norm.weight", config.whole_norm ? q_width : config.head_k);
    for (const char* const unused : {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"}) binder.expect(unused);
    return;
  }
  w.k = binder.weight_if(apart, "attn_k.weight", n_embd, k_width);
  const bool own_values = binder.has("attn_v.weight") || !config.values_of_keys;
  w.v = binder.weight_if(apart && own_values, "attn_v.weight", n_embd, v_width);
  w.k_bias = binder.optional("attn_k.bias", k_width);
  w.v_bias = binder.optional("attn_v.bias", v_width);
  w.q_norm = binder.optional("attn_q_norm.weight", config.whole_norm ? q_width : config.head_k);
  w.k_norm = binder.optional("attn_k_norm.weight", config.whole_norm ? k_width : config.head_k);
}

void bind_delta_net(const Binder& binder, const DeltaNetConfig& config, int64_t n_embd, DeltaNetWeights& w) {
  const int64_t n_head = config.n_head, v_width = config.value_width(), width = config.conv_width();
  const bool joined = !binder.has("attn_qkv.weight") && binder.has("ssm_in.weight");
  w.in = binder.weight_if(joined, "ssm_in.weight", n_embd, width + v_width);
  w.qkv = binder.weight_if(!joined, "attn_qkv.weight", n_embd, width);
  w.gate = binder.weight_if(!joined, "attn_gate.weight", n_embd, v_width);
  w.beta_alpha = binder.weight_if(!config.tiled, "ssm_ba.weight", n_embd, 2 * n_head);
  w.beta = binder.weight_if(config.tiled, "ssm_beta.weight", n_embd, n_head);
  w.alpha = binder.weight_if(config.tiled, "ssm_alpha.weight", n_embd, n_head);
  w.conv = binder.transposed("ssm_conv1d.weight", config.n_taps, width);
  w.dt = binder.vector("ssm_dt.bias", n_head);
  w.decay = binder.vector("ssm_a", n_head);
  w.norm = binder.vector("ssm_norm.weight", config.head);
  w.output = binder.weight("ssm_out.weight", v_width, n_embd);
}

void bind_short_conv(const Binder& binder, const ShortConvConfig& config, ShortConvWeights& w) {
  w.in = binder.weight("shortconv.in_proj.weight", config.width, 3 * config.width);
  w.conv = binder.transposed("shortconv.conv.weight", config.n_taps, config.width);
  w.output = binder.weight("shortconv.out_proj.weight", config.width, config.width);
}

void bind_state_space(const Binder& binder, const StateSpaceConfig& config, int64_t n_embd, StateSpaceWeights& w) {
  const int64_t inner = config.inner(), n_head = config.n_head;
  w.in = binder.weight("ssm_in.weight", n_embd, config.in_width());
  w.conv = binder.transposed("ssm_conv1d.weight", config.n_taps, config.conv_width());
  w.conv_bias = binder.optional("ssm_conv1d.bias", config.conv_width());
  w.dt = binder.vector("ssm_dt.bias", n_head);
  w.decay = binder.vector("ssm_a", n_head);
  w.skip = binder.vector("ssm_d", n_head);
  w.norm = binder.vector("ssm_norm.weight", inner / config.n_group, config.n_group);
  w.output = binder.weight("ssm_out.weight", inner, n_embd);
}

void bind_kimi_delta(const Binder& binder, const KimiDeltaConfig& config, int64_t n_embd, AttentionWeights& attention) {
  KimiDeltaWeights& w = attention.kimi_delta;
  const int64_t width = config.width();
  attention.qkv = binder.optional_weight("attn_qkv.weight", n_embd, 3 * width);
  const bool apart = attention.qkv.empty();
  attention.q = binder.weight_if(apart, "attn_q.weight", n_embd, width);
  attention.k = binder.weight_if(apart, "attn_k.weight", n_embd, width);
  attention.v = binder.weight_if(apart, "attn_v.weight", n_embd, width);
  attention.output = binder.weight("attn_output.weight", width, n_embd);
  w.conv_q = binder.transposed("ssm_conv1d_q.weight", config.n_taps, width);
  w.conv_k = binder.transposed("ssm_conv1d_k.weight", config.n_taps, width);
  w.conv_v = binder.transposed("ssm_conv1d_v.weight", config.n_taps, width);
  w.decay_in = binder.weight("ssm_f_a.weight", n_embd, config.head);
  w.decay_out = binder.weight("ssm_f_b.weight", config.head, width);
  w.dt = binder.vector("ssm_dt.bias", width);
  w.decay = binder.vector("ssm_a", config.n_head);
  w.beta = binder.weight("ssm_beta.weight", n_embd, config.n_head);
  const bool low_rank = !binder.has("ssm_g.weight");
  w.gate = binder.weight_if(!low_rank, "ssm_g.weight", n_embd, width);
  w.gate_in = binder.weight_if(low_rank, "ssm_g_a.weight", n_embd, config.head);
  w.gate_out = binder.weight_if(low_rank, "ssm_g_b.weight", config.head, width);
  w.norm = binder.vector("ssm_norm.weight", config.head);
}

CompressorWeights bind_compressor(const Binder& binder, const std::string& prefix, const CompressedConfig& config,
                                  int64_t n_embd, int64_t width) {
  const int64_t pooled = config.n_halves() * width;
  CompressorWeights w;
  w.kv = binder.weight(prefix + "_compressor_kv.weight", n_embd, pooled);
  w.gate = binder.weight(prefix + "_compressor_gate.weight", n_embd, pooled);
  w.place = binder.vector(prefix + "_compressor_ape.weight", pooled, config.block);
  w.norm = binder.vector(prefix + "_compressor_norm.weight", width);
  return w;
}

void bind_compressed(const Binder& binder, const AttentionConfig& attention, int64_t n_embd, AttentionWeights& w) {
  const CompressedConfig& config = attention.compressed;
  const int64_t q_rank = attention.q_lora_rank, q_width = attention.n_head * attention.head_k;
  w.q_a = binder.weight("attn_q_a.weight", n_embd, q_rank);
  w.q_a_norm = binder.vector("attn_q_a_norm.weight", q_rank);
  w.q_b = binder.weight("attn_q_b.weight", q_rank, q_width);
  w.kv_a_norm = binder.vector("attn_kv_a_norm.weight", attention.head_k);
  w.sinks = binder.vector("attn_sinks.weight", attention.n_head);
  CompressedWeights& own = w.compressed;
  own.kv = binder.weight("attn_kv.weight", n_embd, attention.head_k);
  own.output_a = binder.slices("attn_output_a.weight", q_width / config.n_group, config.group_rank, config.n_group,
                               own.output_a_flat);
  w.output = binder.weight("attn_output_b.weight", config.n_group * config.group_rank, n_embd);
  if (config.block > 0) own.entries = bind_compressor(binder, "attn", config, n_embd, attention.head_k);
  if (!config.has_index()) return;
  own.index_q = binder.weight("indexer.attn_q_b.weight", q_rank, config.n_index_head * config.index_head);
  own.index_mix = binder.weight("indexer.proj.weight", n_embd, config.n_index_head);
  own.index_keys = bind_compressor(binder, "indexer", config, n_embd, config.index_head);
}

// Of a branch "hc_attn_", "hc_ffn_", or of the head.
StreamsWeights bind_streams(const Binder& binder, const StreamsConfig& config, const std::string& prefix,
                            const std::string& score, bool head) {
  StreamsWeights w;
  const int64_t width = config.n * config.n_embd;
  w.score = binder.vector_if(config.kind == StreamsConfig::Kind::kBanked, score, config.n_embd);
  if (config.kind == StreamsConfig::Kind::kLowRank) {
    w.norm = binder.vector(prefix + "norm.weight", config.n_embd, config.n);
    w.down = binder.weight(prefix + "down.weight", width, config.low_rank);
    w.up = binder.weight(prefix + "up.weight", config.low_rank, width);
    w.inject = binder.weight_if(!head, prefix + "inject.weight", width, config.n);
  }
  if (config.kind != StreamsConfig::Kind::kHyper) return w;
  const int64_t n_weights = head ? config.n : config.n * (2 + config.n), n_scales = head ? 1 : 3;
  w.fn = binder.weight(prefix + "fn.weight", width, n_weights);
  w.base = binder.vector(prefix + "base.weight", n_weights);
  w.scale = binder.vector(prefix + "scale.weight", n_scales);
  return w;
}

NgramWeights bind_ngrams(const Binder& binder, const LayerConfig& layer, int64_t n_embd) {
  const NgramConfig& config = layer.attention.ngrams;
  const int64_t n = layer.streams.n;
  int64_t n_rows = 0;
  for (size_t h = 0; h < config.offsets.size(); ++h) n_rows = std::max(n_rows, config.offsets[h] + config.n_rows[h]);
  NgramWeights w;
  constexpr const char* kTable = "per_layer_token_embd.weight";  // may have more rows than are hashed to
  const Binder trunk = binder.outside();
  w.table = trunk.weight_in_file(kTable, config.head_width, std::max(n_rows, trunk.n_rows(kTable)));
  w.key = binder.weight("ple_key.weight", n_embd, n * n_embd);
  w.value = binder.weight("ple_value.weight", n_embd, n_embd);
  w.key_norm = binder.vector("ple_norm_key.weight", n_embd, n);
  w.query_norm = binder.vector("ple_norm_query.weight", n_embd, n);
  w.conv_norm = binder.vector("ple_norm_conv.weight", n_embd, n);
  w.conv = binder.transposed("ple_conv1d.weight", config.n_taps, n * n_embd);
  return w;
}

AttentionWeights bind_attention(const Binder& binder, const LayerConfig& layer, int64_t n_embd) {
  const AttentionConfig& config = layer.attention;
  AttentionWeights w;
  if (config.mixer == Mixer::kNone) return w;
  w.norm = binder.vector_if(layer.input_norms, "attn_norm.weight", n_embd);
  w.branch_norm = binder.vector_if(layer.branch_norms, "post_attention_norm.weight", n_embd);
  switch (config.mixer) {
    case Mixer::kDeltaNet:
      bind_delta_net(binder, config.delta_net, n_embd, w.delta_net);
      return w;
    case Mixer::kShortConv:
      bind_short_conv(binder, config.short_conv, w.short_conv);
      return w;
    case Mixer::kStateSpace:
      bind_state_space(binder, config.state_space, n_embd, w.state_space);
      return w;
    case Mixer::kKimiDelta:
      bind_kimi_delta(binder, config.kimi_delta, n_embd, w);
      return w;
    case Mixer::kCompressed:
      bind_compressed(binder, config, n_embd, w);
      return w;
    case Mixer::kNone:
    case Mixer::kAttention:
    case Mixer::kLatent:
      break;
  }
  if (config.mixer == Mixer::kLatent)
    bind_latent(binder, config, n_embd, w);
  else
    bind_heads(binder, config, n_embd, w);
  bind_indexer(binder, config, n_embd, w.indexer);
  if (config.output_gate) {
    const bool per_head = binder.n_rows("attn_gate.weight") == config.n_head;
    w.gate = binder.optional_weight("attn_gate.weight", n_embd, config.n_head * (per_head ? 1 : config.head_v));
  }
  w.output = binder.weight("attn_output.weight", config.n_head * config.head_v, n_embd);
  w.output_bias = binder.optional("attn_output.bias", n_embd);
  return w;
}

void bind_experts(const Binder& binder, const FfnConfig& config, int64_t n_embd, int64_t n_vocab, FfnWeights& w) {
  const int64_t n = config.n_expert, n_ff = config.n_ff;
  if (config.own_norms) {
    w.router = binder.unscaled_weight("ffn_gate_inp.weight", n_embd, n);
    w.router_norm = binder.scaled_vector("ffn_gate_inp.scale", n_embd, 1 / std::sqrt(static_cast<float>(n_embd)));
    w.experts_norm = binder.vector("pre_ffw_norm_2.weight", n_embd);
    w.shared_out_norm = binder.vector("post_ffw_norm_1.weight", n_embd);
    w.experts_out_norm = binder.vector("post_ffw_norm_2.weight", n_embd);
  } else {
    w.router = binder.weight("ffn_gate_inp.weight", n_embd, n);
  }
  w.router_bias = binder.optional("ffn_gate_inp.bias", n);
  w.selection_bias = binder.optional("exp_probs_b.bias", n);
  if (config.by_token) w.experts_of_token = binder.indices("ffn_gate_tid2eid.weight", config.n_used, n_vocab, n);
  const int64_t width = config.expert_width(n_embd);
  const bool latent = config.n_latent > 0;
  w.latent_down = binder.weight_if(latent, config.latent + "_down.weight", n_embd, width);
  w.latent_up = binder.weight_if(latent, config.latent + "_up.weight", width, n_embd);
  if (latent) w.latent_norm = binder.optional(config.latent + "_norm.weight", width);
  if (config.has_gate()) {
    w.gate_up_exps = binder.optional_weight("ffn_gate_up_exps.weight", width, 2 * n_ff, n);
    w.gate_up_exps_bias = binder.optional("ffn_gate_up_exps.bias", 2 * n_ff, n);
    w.gate_exps = binder.weight_if(w.gate_up_exps.empty(), "ffn_gate_exps.weight", width, n_ff, n);
    w.gate_exps_bias = binder.optional("ffn_gate_exps.bias", n_ff, n);
  }
  w.up_exps = binder.weight_if(w.gate_up_exps.empty(), "ffn_up_exps.weight", width, n_ff, n);
  w.up_exps_bias = binder.optional("ffn_up_exps.bias", n_ff, n);
  if (config.own_norms) {
    w.down_exps = binder.unscaled_weight("ffn_down_exps.weight", n_ff, width, n);
    w.down_exps_scale = binder.optional_rows("ffn_down_exps.scale", n, width);
  } else {
    w.down_exps = binder.weight("ffn_down_exps.weight", n_ff, width, n);
  }
  w.down_exps_bias = binder.optional("ffn_down_exps.bias", width, n);
}

FfnWeights bind_ffn(const Binder& binder, const LayerConfig& layer, int64_t n_embd, int64_t n_vocab) {
  const FfnConfig& config = layer.ffn;
  FfnWeights w;
  if (!config.exists()) return w;
  w.norm = binder.vector_if(layer.input_norms, layer.ffn_norm + ".weight", n_embd);
  const bool experts = config.n_expert > 0;
  const std::string suffix = experts && !config.own_norms ? "_shexp" : "";
  const int64_t n_ff = experts ? config.n_ff_shared : config.n_ff;  // of the part that every token passes
  if (n_ff > 0) {
    w.shared_gate = binder.weight_if(config.shared_gate, "ffn_gate_inp_shexp.weight", n_embd, 1);
    w.gate_up = binder.weight_if(config.fused, "ffn_up.weight", n_embd, 2 * n_ff);
    w.gate = binder.weight_if(!config.fused && config.has_gate(), "ffn_gate" + suffix + ".weight", n_embd, n_ff);
    w.up = binder.weight_if(!config.fused, "ffn_up" + suffix + ".weight", n_embd, n_ff);
    w.down = binder.weight("ffn_down" + suffix + ".weight", n_ff, n_embd);
    if (config.has_gate()) w.gate_bias = binder.optional("ffn_gate" + suffix + ".bias", n_ff);
    w.up_bias = binder.optional("ffn_up" + suffix + ".bias", n_ff);
    w.down_bias = binder.optional("ffn_down" + suffix + ".bias", n_embd);
  }
  if (experts) bind_experts(binder, config, n_embd, n_vocab, w);
  w.branch_norm = binder.vector_if(layer.branch_norms, "post_ffw_norm.weight", n_embd);
  return w;
}

// One tensor for all layers, as long as that of the widest needs it; those that rotate fewer pairs have the first ones
// of it, and some have none.
void bind_rope_factors(const Binder& binder, const ModelConfig& config, TrunkWeights& w) {
  int64_t n_dims = 0;
  bool any = false, longrope = false, optional = false;
  for (size_t i = 0; i < config.layers.size() + config.prediction.size(); ++i) {
    const AttentionConfig& attention = config.block(i).attention;
    if (!attention.rotates()) continue;
    n_dims = std::max(n_dims, attention.rope.n_dims);
    if (!attention.rope.has_factors) continue;
    any = true;
    longrope = longrope || attention.rope.scaling == RopeScaling::kLongrope;
    optional = optional || attention.rope.factors_optional;
  }
  if (!any) return;
  if (longrope && optional && !binder.has("rope_factors_long.weight")) longrope = false;
  if (longrope) {
    w.rope_short = binder.rope_factors("rope_factors_short.weight", n_dims / 2);
    w.rope_long = binder.rope_factors("rope_factors_long.weight", n_dims / 2);
  } else if (n_dims > 0 && binder.has("rope_freqs.weight")) {
    w.rope_short = w.rope_long = binder.rope_factors("rope_freqs.weight", n_dims / 2);
  }
}

// The embedding comes through `first`, everything else through `last`; they bind for the same backend or not.
TrunkWeights bind_trunk(const Binder& first, const Binder& last, bool same, const ModelConfig& config) {
  TrunkWeights w;
  w.token_embd = first.weight("token_embd.weight", config.n_embd, config.n_vocab);
  w.output_norm = last.vector_if(!config.output_norm.empty(), config.output_norm + ".weight", config.n_embd);
  const bool tied = config.output_tied || (!config.output_required && !last.has("output.weight"));
  const char* const output = tied ? "token_embd.weight" : "output.weight";
  w.output = tied && same ? w.token_embd : last.weight(output, config.n_embd, config.n_vocab);
  if (config.output_tied) last.expect("output.weight");
  w.output_bias = last.optional("output.bias", config.n_vocab);
  if (!config.streams.mean_head)
    w.streams = bind_streams(last, config.streams, "output_hc_", "output_res_score.weight", /*head=*/true);
  bind_rope_factors(last, config, w);
  return w;
}

PredictionWeights bind_prediction(const Binder& binder, const ModelConfig& config) {
  PredictionWeights w;
  w.eh_proj = binder.weight("nextn.eh_proj.weight", 2 * config.n_embd, config.n_embd);
  w.enorm = binder.vector("nextn.enorm.weight", config.n_embd);
  w.hnorm = binder.vector("nextn.hnorm.weight", config.n_embd);
  w.token_embd = binder.optional_weight("nextn.embed_tokens.weight", config.n_embd, config.n_vocab);
  const char* const norms[] = {"nextn.shared_head_norm.weight", "layer_output_norm.weight"};
  w.output_norm = binder.optional(norms[binder.has(norms[0]) ? 0 : 1], config.n_embd);
  binder.expect(norms[1]);  // unused beside the other one
  w.output = binder.optional_weight("nextn.shared_head_head.weight", config.n_embd, config.n_vocab);
  return w;
}

LayerEmbeddingWeights bind_layer_embedding(const Binder& binder, const LayerEmbeddingConfig& layer,
                                           const ModelConfig& config) {
  LayerEmbeddingWeights w;
  if (layer.width == 0) return w;
  const int64_t all = layer.width * layer.n_layers;
  const Binder trunk = binder.outside();
  w.table = trunk.weight_in_file("per_layer_token_embd.weight", all, config.n_vocab);
  w.model =
      trunk.rows_of_weight("per_layer_model_proj.weight", config.n_embd, all, layer.layer * layer.width, layer.width);
  w.norm = trunk.vector("per_layer_proj_norm.weight", layer.width);
  w.gate = binder.weight("inp_gate.weight", config.n_embd, layer.width);
  w.output = binder.weight("proj.weight", layer.width, config.n_embd);
  w.out_norm = binder.vector("post_norm.weight", config.n_embd);
  return w;
}

LayerWeights bind_layer(const Binder& binder, const LayerConfig& description, const ModelConfig& config) {
  binder.expect("attn_rot_embd.weight");  // of the first files: frequencies, which are computed
  const StreamsConfig& streams = description.streams;
  LayerWeights w{bind_attention(binder, description, config.n_embd),
                 bind_ffn(binder, description, config.n_embd, config.n_vocab),
                 bind_streams(binder, streams, "hc_attn_", "attn_res_score.weight", /*head=*/false),
                 bind_streams(binder, streams, "hc_ffn_", "ffn_res_score.weight", /*head=*/false)};
  if (description.attention.ngrams.exists()) w.ngrams = bind_ngrams(binder, description, config.n_embd);
  w.embedding = bind_layer_embedding(binder, description.embedding, config);
  if (binder.has("layer_output_scale.weight")) {
    const std::vector<float> scale = binder.values("layer_output_scale.weight", 1);
    if (!scale.empty()) w.output_scale = scale[0];
  }
  return w;
}

std::string block_prefix(size_t block) { return fmt::format("blk.{}.", block); }

std::string prediction_prefix(const ModelConfig& config, int i) {
  return block_prefix(config.layers.size() + static_cast<size_t>(i));
}

}  // namespace

TrunkWeights bind_trunk(const gguf::Source& reader, const ModelConfig& config, Backend& first, Backend& last,
                        LoadedTensors* loaded) {
  const bool same = &first == &last, replaceable = loaded != nullptr && loaded->embedding && same;
  return bind_trunk(Binder(reader, first, "", {}, replaceable ? loaded : nullptr), Binder(reader, last, "", {}, loaded),
                    same, config);
}

bool has_prediction(const gguf::Source& reader, const ModelConfig& config, int i) {
  return reader.find(prediction_prefix(config, i) + "nextn.eh_proj.weight") != nullptr;
}

PredictionWeights bind_prediction(const gguf::Source& reader, const ModelConfig& config, int i, Backend& backend) {
  return bind_prediction(Binder(reader, backend, prediction_prefix(config, i)), config);
}

LayerWeights bind_layer(const gguf::Source& reader, const ModelConfig& config, int layer, Backend& backend,
                        LoadedTensors* loaded) {
  const LayerConfig& description = config.block(static_cast<size_t>(layer));
  return bind_layer(Binder(reader, backend, block_prefix(static_cast<size_t>(layer)), description.required, loaded),
                    description, config);
}

Inventory take_inventory(std::span<const gguf::TensorInfo> tensors, const ModelConfig& config) {
  Stock stock(tensors);
  const Binder trunk(stock, "");
  bind_trunk(trunk, trunk, true, config);
  int n_absent = 0;
  for (size_t i = 0; i < config.layers.size() + config.prediction.size(); ++i) {
    const LayerConfig& description = config.block(i);
    const std::string prefix = block_prefix(i);
    const bool predicts = i >= config.layers.size();
    if (predicts && !config.runs_prediction) {
      stock.expect_block(i);
      continue;
    }
    if (!stock.has_block(static_cast<int64_t>(i))) {
      if (predicts) continue;
      // A header may claim thousands of blocks and have none of them.
      constexpr int kMostByName = 16;
      if (++n_absent > kMostByName) {
        stock.lacks_block(i);
        continue;
      }
    }
    bind_layer(Binder(stock, prefix, description.required), description, config);
    if (predicts) bind_prediction(Binder(stock, prefix), config);
  }
  return stock.result();
}

}  // namespace steelyard::model
