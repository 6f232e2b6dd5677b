// The forward pass of one layer: the only forward code. It knows neither the order of iteration (token-major: all
// layers per batch; layer-major: all chunks per layer) nor why its products are observed.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "compute/observer.h"
#include "compute/scratch.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/rope_table.h"
#include "model/weights.h"

namespace steelyard::model {

/// A layer ready to run.
struct Layer {
  LayerConfig config;
  LayerWeights weights;
  RopeTable rope;
  Backend* backend;          ///< whose memory it is in; passes through it compute there
  RopeTable rope_long = {};  ///< longrope: for texts beyond the original context; empty where there is no room for one
};

/// Whether a text of n tokens has longrope's long factors, from its first token on.
inline bool is_extended(const RopeConfig& rope, int64_t n) {
  return rope.scaling == RopeScaling::kLongrope && n > rope.original_context;
}

/// The backend and scratch memory of a pass, and its observer.
struct ForwardContext {
  Backend& backend;
  Scratch& scratch;
  float norm_eps;
  compute::MatmulObserver* observer = nullptr;
};

/// Rows [first_row, first_row + n_rows) of a batch: consecutive tokens of one sequence at first_position. kv holds the
/// earlier positions and receives these, from row kv_begin on: sequences may have parts of one cache, if those that
/// have a recurrent state follow each other in it. first_position + n_rows must not exceed that part or the layer's
/// RoPE table. extended: is_extended() of the whole text, which earlier positions in the cache were, too.
struct SequenceSlice {
  int64_t first_row;
  int64_t n_rows;
  int64_t first_position;
  KvLayer* kv;
  int64_t kv_begin = 0;
  bool extended = false;
};

/// A layer has two branches, which are added to the hidden states in order: attention or another mixer, then the FFN.
enum class LayerPart { kWhole, kMixer, kFfn };

/// x [n, row_width of the layer's streams] holds the hidden states of the sequences' tokens, and is updated in place.
/// Products see all rows at once; only what looks at earlier positions goes sequence by sequence.
void forward_layer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx,
                   LayerPart part = LayerPart::kWhole);
/// The same for a batch of one sequence.
void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, ForwardContext& ctx,
                   LayerPart part = LayerPart::kWhole);

// ---- the parts of a layer; each returns its contribution to the hidden states, in scratch memory. The rows of h are
// those of the sequences.

/// Grouped attention; h: [n, n_embd], normed. side: columns of the hidden states, where layers share.
Matrix attention(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences,
                 ForwardContext& ctx);
/// Latent attention, absorbed or expanded.
Matrix latent_attention(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences,
                        ForwardContext& ctx);
/// Gated delta net. At first_position 0 the state is reset, else it must be that of the earlier positions.
Matrix delta_net(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
/// Short convolution, Mamba 2 and Kimi delta attention, with a state as delta_net().
Matrix short_conv(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
Matrix state_space(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
Matrix kimi_delta(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
/// Values of what the queries of compressed attention see, at a time.
inline constexpr int64_t kSeenAtOnce = int64_t{1} << 21;
/// Attention to recent positions and to pooled ones. At first_position 0 what is pooled is reset, else it must be that
/// of the earlier positions.
Matrix compressed_attention(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences,
                            ForwardContext& ctx);
/// Adds embeddings of grams to all residual streams of x [n, row_width], before the mixer reads them.
void add_ngrams(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
/// A dense gated FFN, or routed experts plus the shared expert; f: [n, n_embd], normed. ids: of the tokens, where a
/// table gives them their experts.
Matrix ffn(const Layer& layer, Matrix f, std::span<const int32_t> ids, ForwardContext& ctx);
/// The same with norms of their own for its parts (FfnConfig::own_norms); x: [n, n_embd], the stream.
Matrix ffn_with_own_norms(const Layer& layer, Matrix x, ForwardContext& ctx);
/// Adds the layer's own embedding of the tokens to stream 0 of the hidden states.
void add_layer_embedding(const Layer& layer, Matrix hidden, ForwardContext& ctx);

/// Products of one call of the backend. None of them reads what another one writes. Few calls keep the threads
/// together.
class Products {
 public:
  explicit Products(ForwardContext& ctx) : ctx_(ctx) {}

  /// W x, or with a routing each row of x [n_slots, n_in] through its expert; shown to the observer. In scratch memory,
  /// valid after run().
  Matrix add(const Weight& weight, Matrix x, const Routing* routing = nullptr);
  void run() { ctx_.backend.mul_mats(products_); }

 private:
  ForwardContext& ctx_;
  std::vector<compute::Product> products_;
};
/// W x (+ bias) in scratch memory, shown to the observer.
Matrix linear(const Weight& weight, Matrix x, ForwardContext& ctx, const Vector& bias = {});
void add_bias(Matrix y, const Vector& bias, ForwardContext& ctx);
/// Runs of `width` columns of x, which has no gaps between rows, as rows of their own.
inline Matrix as_heads(Matrix x, int64_t width) {
  STEELYARD_CHECK(x.stride == x.cols && x.cols % width == 0);
  return {x.data, x.rows * x.cols / width, width, width};
}
/// RMS norm in scratch memory.
Matrix normed(const Vector& weight, Matrix x, ForwardContext& ctx);
/// RMS norm of every run of `width` columns with weights of its own, in scratch memory.
Matrix normed_runs(const Vector& weights, Matrix x, int64_t width, ForwardContext& ctx);
/// Layer norm without a bias, in scratch memory.
Matrix centered_norm(const Vector& weight, Matrix x, ForwardContext& ctx);

// ---- what goes sequence by sequence

/// The recurrent state of a sequence's earlier positions; the caller passes it through the sequence's rows. At position
/// 0 it is zeros.
float* resume_state(const SequenceSlice& sequence, ForwardContext& ctx);

/// RoPE of n_head heads in the columns of x, head_stride apart, at the positions of the rows. On other pairs than the
/// layer's, if they are given.
void rope_heads(const Layer& layer, Matrix x, int64_t n_head, int64_t head_stride,
                std::span<const SequenceSlice> sequences, ForwardContext& ctx,
                std::optional<compute::RopePairs> pairs = {});
/// Queries far into a text, one row per token, are scaled up where the model does so (AttentionConfig::temperature).
void temper_queries(const AttentionConfig& config, Matrix q, std::span<const SequenceSlice> sequences,
                    ForwardContext& ctx);
/// The gates of attn_gate, products with h, multiply what attention has mixed, where the layer has them.
void gate_heads(const Layer& layer, Matrix h, Matrix mixed, ForwardContext& ctx);
/// Rows into the sequences' caches. A cache of a window makes room for its keys and values first.
void store_keys(Matrix keys, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
void store_values(Matrix values, std::span<const SequenceSlice> sequences, ForwardContext& ctx);
/// Attention of each sequence's rows to its cache, in one call of the backend: [n, n_head * head_v] in scratch memory.
/// `args` with the queries of all of them; caches, positions and result are filled in. visible: of choose_past.
Matrix attend(compute::AttentionArgs args, std::span<const SequenceSlice> sequences, ForwardContext& ctx,
              std::span<const Matrix> visible = {});
/// By sequence what its rows see of its positions, as AttentionArgs::visible has it, for a layer with an indexer; h:
/// normed, q_latent: what queries are projected from, normed. Stores the indexer's keys. Empty: nothing is to be
/// chosen.
std::vector<Matrix> choose_past(const Layer& layer, Matrix h, Matrix q_latent, Matrix side,
                                std::span<const SequenceSlice> sequences, ForwardContext& ctx);
/// Shows the observer the input of a product whose result is not needed.
inline void observe(const Weight& weight, Matrix x, ForwardContext& ctx) {
  if (ctx.observer != nullptr) ctx.observer->dense(ctx.backend, weight, 0, x);
}

}  // namespace steelyard::model
