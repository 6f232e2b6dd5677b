#include "schedule/prediction.h"

#include "model/residual.h"
#include "schedule/device_contexts.h"
#include "schedule/text_slices.h"

namespace steelyard::schedule {

PredictionBlocks::PredictionBlocks(const model::Model& model, int64_t n_ctx) : model_(model), n_ctx_(n_ctx) {
  for (int i = 0; i < model.n_predictions() && n_ctx > i + 1; ++i) {
    blocks_.push_back({model.layer(model.n_layers() + i, n_ctx), model.prediction(i), {}});
  }
}

// Rows of the block's own table or, where it has none, the trunk's, which may be on another backend; in scratch memory.
compute::Matrix PredictionBlocks::embed(const Block& block, std::span<const int32_t> ids,
                                        model::ForwardContext& ctx) const {
  const compute::Matrix out = ctx.scratch.matrix(static_cast<int64_t>(ids.size()), model_.config().n_embd);
  const compute::Weight& table = block.weights.token_embd;
  if (!table.empty()) {
    model_.embed(table, ctx.backend, ids, out);
    return out;
  }
  DeviceContexts contexts(ctx.norm_eps);
  const compute::Matrix rows = contexts.hidden_states(model_.backend(0), out.rows, out.cols);
  model_.embed(model_.embedding(), model_.backend(0), ids, rows);
  ctx.backend.copy(contexts.transfer(model_.backend(0), rows, ctx.backend), out);
  return out;
}

// The input of the block's output matrix, shown to the observer if the block has a matrix of its own.
compute::Matrix PredictionBlocks::head_input(const Block& block, compute::Matrix z, model::ForwardContext& ctx) const {
  const model::Vector& norm = block.weights.output_norm;
  const auto own_norm = model_.config().centered_prediction ? model::centered_norm : model::normed;
  const compute::Matrix h = norm.data != nullptr ? own_norm(norm, z, ctx) : model_.head_input(z, ctx);
  const compute::Weight& output = block.weights.output;
  if (!output.empty() && ctx.observer != nullptr) ctx.observer->dense(ctx.backend, output, 0, h);
  return h;
}

compute::Matrix PredictionBlocks::run(std::span<const Chunk> chunks, compute::Matrix x, model::ForwardContext& ctx) {
  const auto n_chunks = static_cast<int64_t>(chunks.size());
  const int64_t width = model_.config().n_embd, hidden_width = x.cols;
  if (x.rows > n_rows_) {
    memory_ = ctx.backend.allocate(static_cast<size_t>(x.rows * (width + hidden_width)) * sizeof(float));
    n_rows_ = x.rows;
  }
  float* const memory = reinterpret_cast<float*>(memory_.get());
  const compute::Matrix h{memory, x.rows, width, width};
  compute::Matrix z{memory + n_rows_ * width, x.rows, hidden_width, hidden_width};
  ctx.scratch.reset();
  const model::StreamsConfig& streams = model_.config().streams;
  const bool of_normed = model_.config().prediction_of_normed;
  ctx.backend.copy(of_normed ? model_.head_input(x, ctx) : streams.stream(x, 0), h);

  int64_t had = n_ctx_;  // rows of h per chunk
  for (Block& block : blocks_) {
    const int64_t n = had - 1;
    z.rows = n_chunks * n;
    ctx.scratch.reset();
    const compute::Matrix joined = ctx.scratch.matrix(z.rows, 2 * width);
    const compute::Matrix embedding = joined.columns(0, width), before = joined.columns(width, width);
    while (block.caches.size() < chunks.size())
      block.caches.push_back(make_kv_layer(ctx.backend, block.layer.config.attention, n_ctx_, model_.cache_types()));
    std::vector<model::SequenceSlice> slices;
    std::vector<int32_t> ids;  // the tokens that the block's rows begin with
    for (int64_t c = 0; c < n_chunks; ++c) {
      const Chunk& chunk = chunks[static_cast<size_t>(c)];
      const auto next = std::span(chunk.ids).last(static_cast<size_t>(n));
      ids.insert(ids.end(), next.begin(), next.end());
      ctx.backend.copy(embed(block, next, ctx), embedding.slice(c * n, n));
      ctx.backend.copy(h.slice(c * had, n), before.slice(c * n, n));
      add_text_slices(slices, block.layer, chunk.starts, n_ctx_, c * n, 0, n, block.caches[static_cast<size_t>(c)]);
    }
    ctx.backend.rms_norm(embedding, block.weights.enorm.data, ctx.norm_eps, embedding);
    ctx.backend.rms_norm(before, block.weights.hnorm.data, ctx.norm_eps, before);
    spread(streams, linear(block.weights.eh_proj, joined, ctx), ids, z, ctx.backend);
    forward_layer(block.layer, z, slices, ctx);
    const compute::Matrix input = head_input(block, z, ctx);
    ctx.backend.copy(of_normed ? input : streams.stream(z, 0), h.slice(0, z.rows));
    had = n;
  }
  return z;
}

}  // namespace steelyard::schedule
