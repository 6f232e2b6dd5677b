#include "model/model.h"

#include <algorithm>

#include "base/error.h"
#include "model/architecture.h"
#include "model/memory_plan.h"

namespace steelyard {

Model::Model(const gguf::Reader& reader, Backend& backend, CacheTypes cache_types)
    : reader_(reader),
      backend_(backend),
      config_(read_config(reader.metadata())),
      cache_types_(cache_types),
      trunk_(bind_trunk(reader, config_, backend)) {
  for (const LayerConfig& layer : config_.layers) check_cache_types(layer.attention, cache_types);
  const auto n = static_cast<int>(config_.prediction.size());
  while (n_predictions_ < n && has_prediction(reader, config_, n_predictions_)) ++n_predictions_;
}

Layer Model::layer(int i, int64_t n_positions, std::span<const Layer> bound, const Substitutes& substitutes) const {
  // Bound first: that shows that the widths, which size the table, are those of real tensors.
  Layer layer{config_.block(static_cast<size_t>(i)), bind_layer(reader_, config_, i, backend_, substitutes), {}};
  const RopeConfig& rope = layer.config.attention.rope;
  const auto same =
      std::ranges::find_if(bound, [&](const Layer& other) { return other.config.attention.rope == rope; });
  const std::vector<float>& factors = n_positions > rope.original_context ? trunk_.rope_long : trunk_.rope_short;
  layer.rope = same != bound.end() ? same->rope : make_rope_table(backend_, rope, factors, n_positions);
  return layer;
}

PredictionWeights Model::prediction(int i) const { return bind_prediction(reader_, config_, i, backend_); }

void Model::will_need(int i) const {
  const std::string prefix = fmt::format("blk.{}.", i);
  for (const gguf::TensorInfo& tensor : reader_.tensors()) {
    if (tensor.name.starts_with(prefix)) reader_.will_need(tensor, 0, tensor.n_bytes);
  }
}

void Model::release(int i) const {
  const std::string prefix = fmt::format("blk.{}.", i);
  for (const gguf::TensorInfo& tensor : reader_.tensors()) {
    if (tensor.name.starts_with(prefix)) reader_.release(tensor, 0, tensor.n_bytes);
  }
}

void Model::release_embedding() const {
  const gguf::TensorInfo* const tensor = reader_.find(trunk_.token_embd.name);
  if (trunk_.output.name != tensor->name) reader_.release(*tensor, 0, tensor->n_bytes);
}

void Model::embed(const Weight& table, std::span<const int32_t> ids, Matrix out) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.n_vocab)
      fail(reader_.path(), "token {} is beyond the vocabulary of {}", id, config_.n_vocab);
  }
  backend_.embed(table.empty() ? trunk_.token_embd : table, ids, out);
  if (config_.embedding_scale != 1) backend_.scale(out, config_.embedding_scale);
}

Matrix Model::logits(Matrix x, Pass& pass) const {
  const Matrix logits = linear(trunk_.output, normed(trunk_.output_norm, x, pass), pass, trunk_.output_bias);
  if (config_.logit_softcap > 0) backend_.softcap(logits, config_.logit_softcap);
  return logits;
}

Session::Session(const Model& model, int64_t n_context, int64_t n_sequences)
    : model_(model),
      n_context_(n_context),
      ids_(static_cast<size_t>(n_sequences)),
      scratch_(model.backend()),
      pass_{model.backend(), scratch_, model.config().norm_eps} {
  check_memory(n_context, n_sequences);
  for (int i = 0; i < model.n_layers(); ++i) {
    layers_.push_back(model.layer(i, n_context, layers_));
  }
  // Only now: binding has shown that the configuration's widths are those of real tensors.
  for (int64_t s = 0; s < n_sequences; ++s) {
    caches_.push_back(make_kv_cache(model.backend(), model.config(), n_context, model.cache_types()));
  }
}

// Before anything is loaded. The trunk is there already.
void Session::check_memory(int64_t n_context, int64_t n_sequences) const {
  const std::optional<uint64_t> free = model_.backend().free_memory();
  if (!free) return;
  MemoryRequest request{n_context, n_sequences};
  request.n_batch = std::min(request.n_batch, n_context);
  request.cache_types = model_.cache_types();
  MemoryPlan plan = plan_memory(model_.reader(), model_.config(), request);
  plan.embedding = plan.output = plan.tied_output = 0;
  check_fits(plan.on_device(plan.all()), *free, std::string(model_.backend().name()));
}

Matrix Session::forward(std::span<const int32_t> ids) {
  const SequenceTokens only{0, ids};
  return forward_batch(std::span(&only, 1));
}

Matrix Session::forward_batch(std::span<const SequenceTokens> batch) {
  int64_t n = 0;
  std::vector<SequenceSlice> slices;
  for (const SequenceTokens& tokens : batch) {
    const auto n_rows = static_cast<int64_t>(tokens.ids.size());
    if (n_rows > n_context_ - position(tokens.sequence)) fail("", "context of {} tokens is full", n_context_);
    slices.push_back({n, n_rows, position(tokens.sequence), nullptr});
    n += n_rows;
  }
  const int64_t width = model_.config().n_embd;
  if (n > residual_rows_) {
    residual_ = model_.backend().allocate(static_cast<size_t>(n * width) * sizeof(float));
    residual_rows_ = n;
  }
  const Matrix x{reinterpret_cast<float*>(residual_.get()), n, width, width};
  for (size_t i = 0; i < batch.size(); ++i) model_.embed(batch[i].ids, x.slice(slices[i].first_row, slices[i].n_rows));
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    for (size_t i = 0; i < batch.size(); ++i) {
      slices[i].kv = &caches_[static_cast<size_t>(batch[i].sequence)][layer];
    }
    forward_layer(layers_[layer], x, slices, pass_);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    std::vector<int32_t>& ids = ids_[static_cast<size_t>(batch[i].sequence)];
    ids.insert(ids.end(), batch[i].ids.begin(), batch[i].ids.end());
  }
  return x;
}

Matrix Session::logits(Matrix x) {
  scratch_.reset();
  return model_.logits(x, pass_);
}

}  // namespace steelyard
