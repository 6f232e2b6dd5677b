#include "schedule/session.h"

#include "base/error.h"
#include "schedule/memory_check.h"

namespace steelyard::schedule {

Session::Session(const model::Model& model, int64_t n_context, int64_t n_sequences)
    : model_(model), n_context_(n_context), ids_(static_cast<size_t>(n_sequences)), contexts_(model.config().norm_eps) {
  MemoryRequest request{n_context, n_sequences};
  request.n_batch = std::min(request.n_batch, n_context);
  request.cache_types = model.cache_types();
  check_memory(model, request);
  for (int i = 0; i < model.n_layers(); ++i) {
    layers_.push_back(model.layer(i, n_context, layers_));
  }
  // Only now, because binding has proved that the configuration's widths are those of real tensors.
  for (int64_t s = 0; s < n_sequences; ++s) {
    model::KvCache& cache = caches_.emplace_back();
    for (const model::Layer& layer : layers_) {
      cache.push_back(make_kv_layer(*layer.backend, layer.config.attention, n_context, model.cache_types()));
    }
  }
}

compute::Matrix Session::forward(std::span<const int32_t> ids) {
  const SequenceTokens only{0, ids};
  return forward_batch(std::span(&only, 1));
}

compute::Matrix Session::forward_batch(std::span<const SequenceTokens> batch) {
  int64_t n = 0;
  std::vector<model::SequenceSlice> slices;
  for (const SequenceTokens& tokens : batch) {
    const auto n_rows = static_cast<int64_t>(tokens.ids.size());
    if (n_rows > n_context_ - position(tokens.sequence)) fail("", "context of {} tokens is full", n_context_);
    slices.push_back({n, n_rows, position(tokens.sequence), nullptr});
    n += n_rows;
  }
  compute::Backend* at = &model_.backend(0);
  compute::Matrix x = contexts_.hidden_states(*at, n, model_.config().n_embd);
  for (size_t i = 0; i < batch.size(); ++i) model_.embed(batch[i].ids, x.slice(slices[i].first_row, slices[i].n_rows));
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    x = contexts_.transfer(*at, x, *layers_[layer].backend);
    at = layers_[layer].backend;
    for (size_t i = 0; i < batch.size(); ++i) {
      slices[i].kv = &caches_[static_cast<size_t>(batch[i].sequence)][layer];
    }
    model::ForwardContext ctx = contexts_.forward_context(*at, observer_);
    forward_layer(layers_[layer], x, slices, ctx);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    std::vector<int32_t>& ids = ids_[static_cast<size_t>(batch[i].sequence)];
    ids.insert(ids.end(), batch[i].ids.begin(), batch[i].ids.end());
  }
  return x;
}

compute::Matrix Session::logits(compute::Matrix x) {
  model::ForwardContext ctx = contexts_.forward_context(model_.backend(), observer_);
  ctx.scratch.reset();
  return model_.logits(x, ctx);
}

}  // namespace steelyard::schedule
