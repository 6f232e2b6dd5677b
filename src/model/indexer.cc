// The indexer of sparse attention (DeepSeek-V3.2 report, section 2.1): a few narrow heads score all past positions, and
// attention sees the best ones only. A layer without an indexer takes the inputs of an earlier one's from side columns
// of the hidden states, and so chooses as that did, from index keys in its own cache.
#include <algorithm>
#include <cmath>

#include "model/forward.h"

namespace steelyard::model {
namespace {

using Kind = IndexerConfig::Kind;

struct Inputs {
  Matrix q, weights, k;  // [n, n_head * head], [n, n_head], [n, head]
};

Inputs compute_inputs(const Layer& layer, Matrix h, Matrix q_latent, std::span<const SequenceSlice> sequences,
                      ForwardContext& ctx) {
  const IndexerConfig& config = layer.config.attention.indexer;
  const IndexerWeights& w = layer.weights.attention.indexer;
  Products products(ctx);
  const Inputs inputs{products.add(w.q, q_latent), products.add(w.head_weights, h), products.add(w.k, h)};
  products.run();
  ctx.backend.center(inputs.k);
  ctx.backend.rms_norm(inputs.k, w.k_norm.data, config.norm_eps, inputs.k);
  ctx.backend.add_row(inputs.k, w.k_norm_bias.data);
  rope_heads(layer, inputs.q, config.n_head, config.head, sequences, ctx, config.pairs);
  rope_heads(layer, inputs.k, 1, config.head, sequences, ctx, config.pairs);
  ctx.backend.scale(inputs.weights,
                    static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head * config.n_head))));
  return inputs;
}

// Their place among the side columns.
Inputs side_columns(const AttentionConfig& attention, Matrix side) {
  const IndexerConfig& config = attention.indexer;
  const int64_t q = attention.side_begin, weights = q + config.query_width(), k = weights + config.n_head;
  return {side.columns(q, config.query_width()), side.columns(weights, config.n_head), side.columns(k, config.head)};
}

Inputs find_inputs(const Layer& layer, Matrix h, Matrix q_latent, Matrix side, std::span<const SequenceSlice> sequences,
                   ForwardContext& ctx) {
  const AttentionConfig& attention = layer.config.attention;
  const auto copy = [&](const Inputs& from, const Inputs& to) {
    ctx.backend.copy(from.q, to.q);
    ctx.backend.copy(from.weights, to.weights);
    ctx.backend.copy(from.k, to.k);
  };
  if (attention.sharing == Sharing::kTakes) {
    const Inputs taken{ctx.scratch.matrix(h.rows, attention.indexer.query_width()),
                       ctx.scratch.matrix(h.rows, attention.indexer.n_head),
                       ctx.scratch.matrix(h.rows, attention.indexer.head)};
    copy(side_columns(attention, side), taken);
    return taken;
  }
  const Inputs own = compute_inputs(layer, h, q_latent, sequences, ctx);
  if (attention.sharing == Sharing::kGives) copy(own, side_columns(attention, side));
  return own;
}

// Scores need memory for some rows at a time only.
Matrix visible_to(const IndexerConfig& config, const Inputs& inputs, const SequenceSlice& s, ForwardContext& ctx) {
  constexpr int64_t kRows = 128;
  const int64_t n_keys = s.first_position + s.n_rows;
  if (!config.chooses(n_keys)) return {};
  const Matrix visible = ctx.scratch.matrix(s.n_rows, n_keys);
  const Matrix scores = ctx.scratch.matrix(std::min(kRows, s.n_rows), n_keys);
  const compute::TypedRows keys = s.kv->index_keys.slice(s.kv_begin, n_keys);
  for (int64_t begin = 0; begin < s.n_rows; begin += kRows) {
    const int64_t n = std::min(kRows, s.n_rows - begin), row = s.first_row + begin;
    ctx.backend.index_scores(inputs.q.slice(row, n), inputs.weights.slice(row, n), keys, scores.slice(0, n));
    ctx.backend.select({s.first_position + begin, /*block=*/1, config.n_best, /*positions=*/false}, scores.slice(0, n),
                       visible.slice(begin, n));
  }
  return visible;
}

}  // namespace

std::vector<Matrix> choose_past(const Layer& layer, Matrix h, Matrix q_latent, Matrix side,
                                std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const IndexerConfig& config = layer.config.attention.indexer;
  const IndexerWeights& w = layer.weights.attention.indexer;
  if (config.kind == Kind::kNone) return {};
  // Caches of one length have all the same.
  if (sequences.front().kv->index_keys.cols == 0) {
    if (w.q.empty()) return {};
    observe(w.q, config.kind == Kind::kPositions ? q_latent : h, ctx);
    observe(w.k, h, ctx);
    if (!w.head_weights.empty()) observe(w.head_weights, h, ctx);
    return {};
  }
  const Inputs inputs = find_inputs(layer, h, q_latent, side, sequences, ctx);
  for (const SequenceSlice& s : sequences)
    ctx.backend.store(inputs.k.slice(s.first_row, s.n_rows),
                      s.kv->index_keys.slice(s.kv_begin + s.first_position, s.n_rows));
  std::vector<Matrix> visible;
  for (const SequenceSlice& s : sequences) visible.push_back(visible_to(config, inputs, s, ctx));
  return visible;
}

}  // namespace steelyard::model
