#include "schedule/prediction.h"

#include "schedule/workplaces.h"

namespace steelyard {

PredictionBlocks::PredictionBlocks(const Model& model, int64_t n_ctx) : model_(model), n_ctx_(n_ctx) {
  for (int i = 0; i < model.n_predictions() && n_ctx > i + 1; ++i) {
    blocks_.push_back({model.layer(model.n_layers() + i, n_ctx), model.prediction(i), {}});
  }
}

// Rows of the block's own table or, where it has none, the trunk's, which may be on another backend; in scratch memory.
Matrix PredictionBlocks::embed(const Block& block, std::span<const int32_t> ids, Pass& pass) const {
  const Matrix out = pass.scratch.matrix(static_cast<int64_t>(ids.size()), model_.config().n_embd);
  const Weight& table = block.weights.token_embd;
  if (!table.empty()) {
    model_.embed(table, pass.backend, ids, out);
    return out;
  }
  Workplaces workplaces(pass.norm_eps);
  const Matrix rows = workplaces.stream(model_.backend(0), out.rows, out.cols);
  model_.embed(ids, rows);
  pass.backend.copy(workplaces.hand_on(model_.backend(0), rows, pass.backend), out);
  return out;
}

// What the block's output matrix reads, shown to the observer where the block has a matrix of its own.
Matrix PredictionBlocks::head_input(const Block& block, Matrix z, Pass& pass) const {
  const Vector& norm = block.weights.output_norm;
  const Matrix h = norm.data != nullptr ? normed(norm, z, pass) : model_.head_input(z, pass);
  const Weight& output = block.weights.output;
  if (!output.empty() && pass.observer != nullptr) pass.observer->dense(pass.backend, output, 0, h);
  return h;
}

Matrix PredictionBlocks::run(std::span<const std::vector<int32_t>> ids, Matrix x, Pass& pass) {
  const auto n_sequences = static_cast<int64_t>(ids.size());
  const int64_t width = x.cols;
  if (x.rows > n_rows_) {
    memory_ = pass.backend.allocate(static_cast<size_t>(2 * x.rows * width) * sizeof(float));
    n_rows_ = x.rows;
  }
  float* const memory = reinterpret_cast<float*>(memory_.get());
  const Matrix h{memory, x.rows, width, width};
  Matrix z{memory + n_rows_ * width, x.rows, width, width};
  pass.scratch.reset();
  pass.backend.copy(model_.head_input(x, pass), h);

  int64_t had = n_ctx_;  // rows of h per sequence
  for (Block& block : blocks_) {
    const int64_t n = had - 1;
    z.rows = n_sequences * n;
    pass.scratch.reset();
    const Matrix joined = pass.scratch.matrix(z.rows, 2 * width);
    const Matrix embedding = joined.columns(0, width), before = joined.columns(width, width);
    while (block.caches.size() < ids.size())
      block.caches.push_back(make_kv_layer(pass.backend, block.layer.config.attention, n_ctx_, model_.cache_types()));
    std::vector<SequenceSlice> slices;
    for (int64_t s = 0; s < n_sequences; ++s) {
      const auto next = std::span(ids[static_cast<size_t>(s)]).last(static_cast<size_t>(n));
      pass.backend.copy(embed(block, next, pass), embedding.slice(s * n, n));
      pass.backend.copy(h.slice(s * had, n), before.slice(s * n, n));
      slices.push_back({s * n, n, 0, &block.caches[static_cast<size_t>(s)]});
    }
    pass.backend.rms_norm(embedding, block.weights.enorm.data, pass.norm_eps, embedding);
    pass.backend.rms_norm(before, block.weights.hnorm.data, pass.norm_eps, before);
    pass.backend.copy(linear(block.weights.eh_proj, joined, pass), z);
    forward_layer(block.layer, z, slices, pass);
    pass.backend.copy(head_input(block, z, pass), h.slice(0, z.rows));
    had = n;
  }
  return z;
}

}  // namespace steelyard
