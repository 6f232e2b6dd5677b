// A layer's own embedding of the token (per-layer embeddings of Gemma 3n and 4). The table is by far the largest tensor
// and only single rows of it are needed, so these are looked up where the file is. The other part of the embedding is a
// projection of the model's.
#include <cmath>
#include <vector>

#include "model/forward.h"
#include "model/residual.h"

namespace steelyard::model {
namespace {

// The layer's piece of the tokens' rows, times `factor`. Only the blocks that hold the piece are decoded.
std::vector<float> look_up(const LayerEmbeddingConfig& config, const Weight& table, std::span<const int32_t> ids,
                           float factor) {
  const int64_t length = table.format->block_len, begin = config.layer * config.width, end = begin + config.width;
  const int64_t first = begin / length, n_blocks = (end + length - 1) / length - first;
  std::vector<float> decoded(static_cast<size_t>(n_blocks * length)), rows;
  rows.reserve(ids.size() * static_cast<size_t>(config.width));
  for (const int32_t id : ids) {
    table.format->decode(table.row(0, id) + first * table.format->block_bytes, n_blocks, decoded.data());
    const float* const piece = decoded.data() + (begin - first * length);
    for (int64_t i = 0; i < config.width; ++i) rows.push_back(factor * piece[i]);
  }
  return rows;
}

// [n, width]: both parts together.
Matrix layer_embedding(const Layer& layer, Matrix hidden, ForwardContext& ctx) {
  const LayerEmbeddingConfig& config = layer.config.embedding;
  const LayerEmbeddingWeights& w = layer.weights.embedding;
  const StreamsConfig& streams = layer.config.streams;
  const Matrix embedded = streams.stream(hidden, 1);
  // All layers project the same.
  if (config.layer == 0) observe(w.model, embedded, ctx);
  const Matrix out = ctx.scratch.matrix(hidden.rows, config.width);
  ctx.backend.mul_mat(w.model, 0, embedded, out);
  ctx.backend.scale(out, 1 / std::sqrt(static_cast<float>(streams.n_embd)));
  ctx.backend.rms_norm(out, w.norm.data, ctx.norm_eps, out);
  const std::vector<float> rows =
      look_up(config, w.table, token_ids(streams, hidden, ctx), std::sqrt(static_cast<float>(config.width)));
  const Matrix of_tokens = ctx.scratch.matrix(hidden.rows, config.width);
  ctx.backend.upload(of_tokens.data, rows.data(), rows.size() * sizeof(float));
  ctx.backend.add(out, of_tokens);
  ctx.backend.scale(out, std::sqrt(0.5f));
  return out;
}

}  // namespace

void add_layer_embedding(const Layer& layer, Matrix hidden, ForwardContext& ctx) {
  const LayerEmbeddingWeights& w = layer.weights.embedding;
  const Matrix x = layer.config.streams.stream(hidden, 0), embedding = layer_embedding(layer, hidden, ctx);
  const Matrix before = ctx.scratch.matrix(x.rows, x.cols);  // what a product reads is not changed later
  ctx.backend.copy(x, before);
  const Matrix gate = linear(w.gate, before, ctx);
  ctx.backend.gated(compute::Activation::kGeglu, gate, embedding);
  ctx.backend.add(x, normed(w.out_norm, linear(w.output, gate, ctx), ctx));
}

}  // namespace steelyard::model
