// The indexer of sparse attention (DeepSeek-V3.2 report, section 2.1): a few narrow heads score all past positions, and
// attention sees the best ones only. A layer without an indexer takes the inputs of an earlier one's from side columns
// of the hidden states, and so chooses as that did, from index keys in its own cache.
#include <algorithm>
#include <cmath>

#include "model/pending_blocks.h"

namespace steelyard::model {
namespace {

using Kind = IndexerConfig::Kind;

struct Inputs {
  Matrix q, weights, k;  // [n, n_head * head], [n, n_head], [n, head]
  Matrix gate = {};      // of pools [n, head]: what weighs the keys of a block
};

// Adds what belongs to the place of every row's position in its block.
void add_place(const IndexerConfig& config, const Vector& place, Matrix gate, std::span<const SequenceSlice> sequences,
               ForwardContext& ctx) {
  for (const SequenceSlice& s : sequences) {
    for (int64_t i = 0; i < std::min(config.block, s.n_rows); ++i) {  // all rows of one place at a time
      const Matrix rows{gate.row(s.first_row + i), (s.n_rows - i + config.block - 1) / config.block, gate.cols,
                        gate.stride * config.block};
      ctx.backend.add_row(rows, place.data + (s.first_position + i) % config.block * gate.cols);
    }
  }
}

Inputs compute_inputs(const Layer& layer, Matrix h, Matrix q_latent, std::span<const SequenceSlice> sequences,
                      ForwardContext& ctx) {
  const IndexerConfig& config = layer.config.attention.indexer;
  const IndexerWeights& w = layer.weights.attention.indexer;
  Products products(ctx);
  Inputs inputs{products.add(w.q, q_latent), products.add(w.head_weights, h), products.add(w.k, h)};
  if (!w.gate.empty()) inputs.gate = products.add(w.gate, h);
  products.run();
  if (!w.gate.empty()) add_place(config, w.place, inputs.gate, sequences, ctx);
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
  return {side.columns(q, config.query_width()), side.columns(weights, config.n_head), side.columns(k, config.head),
          config.kind == Kind::kPools ? side.columns(k + config.head, config.head) : Matrix{}};
}

Inputs find_inputs(const Layer& layer, Matrix h, Matrix q_latent, Matrix side, std::span<const SequenceSlice> sequences,
                   ForwardContext& ctx) {
  const AttentionConfig& attention = layer.config.attention;
  const auto copy = [&](const Inputs& from, const Inputs& to) {
    ctx.backend.copy(from.q, to.q);
    ctx.backend.copy(from.weights, to.weights);
    ctx.backend.copy(from.k, to.k);
    if (attention.indexer.kind == Kind::kPools) ctx.backend.copy(from.gate, to.gate);
  };
  if (attention.sharing == Sharing::kTakes) {
    const Inputs taken{ctx.scratch.matrix(h.rows, attention.indexer.query_width()),
                       ctx.scratch.matrix(h.rows, attention.indexer.n_head),
                       ctx.scratch.matrix(h.rows, attention.indexer.head),
                       ctx.scratch.matrix(h.rows, attention.indexer.head)};
    copy(side_columns(attention, side), taken);
    return taken;
  }
  const Inputs own = compute_inputs(layer, h, q_latent, sequences, ctx);
  if (attention.sharing == Sharing::kGives) copy(own, side_columns(attention, side));
  return own;
}

// The keys of blocks that the sequence's rows complete. Texts that share a cache have its rows from n_keys(kv_begin)
// on.
void store_pools(const IndexerConfig& config, const Inputs& inputs, const SequenceSlice& s, ForwardContext& ctx) {
  PendingBlocks pending(config.block, 1, s, resume_state(s, ctx), ctx);
  const Matrix keys = pending.joined(inputs.k), gates = pending.joined(inputs.gate);
  const int64_t n = pending.end() - pending.begin();
  if (n == 0) return;
  const Matrix pooled = ctx.scratch.matrix(n, config.head);
  ctx.backend.softmax_pool(keys.slice(0, n * config.block), gates.slice(0, n * config.block), config.block, pooled);
  ctx.backend.store(pooled, s.kv->index_keys.slice(config.n_keys(s.kv_begin) + pending.begin(), n));
}

// Scores need memory for some rows at a time only.
Matrix visible_to(const IndexerConfig& config, const Inputs& inputs, const SequenceSlice& s, ForwardContext& ctx) {
  constexpr int64_t kRows = 128;
  const int64_t n_keys = s.first_position + s.n_rows;
  if (!config.chooses(n_keys)) return {};
  const Matrix visible = ctx.scratch.matrix(s.n_rows, n_keys);
  const int64_t n_entries = config.n_keys(n_keys);
  const Matrix scores = ctx.scratch.matrix(std::min(kRows, s.n_rows), n_entries);
  const compute::TypedRows keys = s.kv->index_keys.slice(config.n_keys(s.kv_begin), n_entries);
  const bool pools = config.kind == Kind::kPools;
  for (int64_t begin = 0; begin < s.n_rows; begin += kRows) {
    const int64_t n = std::min(kRows, s.n_rows - begin), row = s.first_row + begin;
    ctx.backend.index_scores(inputs.q.slice(row, n), inputs.weights.slice(row, n), keys, scores.slice(0, n));
    ctx.backend.select({s.first_position + begin, config.block, config.n_best, /*positions=*/pools}, scores.slice(0, n),
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
    observe(w.q, config.is_built() ? q_latent : h, ctx);
    observe(w.k, h, ctx);
    if (!w.head_weights.empty()) observe(w.head_weights, h, ctx);
    if (!w.gate.empty()) observe(w.gate, h, ctx);
    return {};
  }
  const Inputs inputs = find_inputs(layer, h, q_latent, side, sequences, ctx);
  for (const SequenceSlice& s : sequences) {
    if (config.kind == Kind::kPools)
      store_pools(config, inputs, s, ctx);
    else
      ctx.backend.store(inputs.k.slice(s.first_row, s.n_rows),
                        s.kv->index_keys.slice(s.kv_begin + s.first_position, s.n_rows));
  }
  std::vector<Matrix> visible;
  for (const SequenceSlice& s : sequences) visible.push_back(visible_to(config, inputs, s, ctx));
  return visible;
}

}  // namespace steelyard::model
