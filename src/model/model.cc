#include "model/model.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "model/architecture.h"

namespace steelyard {

Model::Model(const gguf::Reader& reader, Backend& backend, CacheTypes cache_types)
    : Model(reader, std::vector<Backend*>(read_config(reader.metadata()).layers.size(), &backend), cache_types) {}

Model::Model(const gguf::Reader& reader, std::vector<Backend*> backends, CacheTypes cache_types)
    : reader_(reader),
      config_(read_config(reader.metadata())),
      backends_(std::move(backends)),
      cache_types_(cache_types),
      trunk_(bind_trunk(reader, config_, *backends_.front(), *backends_.back())) {
  STEELYARD_CHECK(backends_.size() == config_.layers.size());
  for (const LayerConfig& layer : config_.layers) check_cache_types(layer.attention, cache_types);
  const auto n = static_cast<int>(config_.prediction.size());
  while (n_predictions_ < n && has_prediction(reader, config_, n_predictions_)) ++n_predictions_;
}

Layer Model::layer(int i, int64_t n_positions, std::span<const Layer> bound, LoadedWeights* loaded) const {
  // Bound first: that shows that the widths, which size the table, are those of real tensors.
  Backend& place = backend(i);
  Layer layer{config_.block(static_cast<size_t>(i)), bind_layer(reader_, config_, i, place, loaded), {}, &place};
  const RopeConfig& rope = layer.config.attention.rope;
  const auto same = std::ranges::find_if(
      bound, [&](const Layer& other) { return other.backend == layer.backend && other.config.attention.rope == rope; });
  const std::vector<float>& factors = n_positions > rope.original_context ? trunk_.rope_long : trunk_.rope_short;
  layer.rope = same != bound.end() ? same->rope : make_rope_table(place, rope, factors, n_positions);
  return layer;
}

std::vector<Model::Part> Model::parts() const {
  std::vector<Part> parts;
  for (int i = 0; i < n_layers(); ++i) {
    if (parts.empty() || parts.back().first != &backend(i)) parts.emplace_back(&backend(i), LayerRange{i, i});
    ++parts.back().second.end;
  }
  return parts;
}

namespace {

// What the trunk takes of a device is loaded already and no longer free.
DeviceMemory still_needed(MemoryPlan plan, LayerRange layers, const Backend& backend) {
  if (backend.free_memory()) plan.embedding = plan.output = plan.tied_output = 0;
  return plan.on_device(layers);
}

}  // namespace

bool Model::has_room(const MemoryPlan& plan) const {
  return std::ranges::all_of(parts(), [&](const Part& part) {
    const auto& [backend, layers] = part;
    return still_needed(plan, layers, *backend).total() <= backend->free_memory().value_or(physical_memory());
  });
}

void Model::check_room(const MemoryRequest& request) const {
  for (const auto& [backend, layers] : parts()) {
    const auto free = backend->free_memory();
    if (!free) continue;  // and no plan: binding says more clearly what is wrong with a file
    const MemoryPlan plan = plan_memory(reader_, config_, request);
    check_fits(still_needed(plan, layers, *backend), *free, std::string(backend->name()));
  }
}

uint64_t Model::block_bytes(int i) const {
  const std::string prefix = fmt::format("blk.{}.", i);
  uint64_t bytes = 0;
  for (const gguf::TensorInfo& tensor : reader_.tensors()) {
    if (tensor.name.starts_with(prefix)) bytes += tensor.n_bytes;
  }
  return bytes;
}

PredictionWeights Model::prediction(int i) const { return bind_prediction(reader_, config_, i, backend()); }

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

void Model::embed(const Weight& table, Backend& backend, std::span<const int32_t> ids, Matrix out) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.n_vocab)
      fail(reader_.path(), "token {} is beyond the vocabulary of {}", id, config_.n_vocab);
  }
  backend.embed(table, ids, out);
  if (config_.embedding_scale != 1) backend.scale(out, config_.embedding_scale);
}

Matrix Model::embed(const Weight& table, std::span<const int32_t> ids, Pass& pass) const {
  const Matrix out = pass.scratch.matrix(static_cast<int64_t>(ids.size()), config_.n_embd);
  if (!table.empty()) {
    embed(table, pass.backend, ids, out);
    return out;
  }
  Workplaces workplaces(config_.norm_eps);
  const Matrix rows = workplaces.stream(backend(0), out.rows, out.cols);
  embed(ids, rows);
  pass.backend.copy(workplaces.hand_on(backend(0), rows, pass.backend), out);
  return out;
}

Matrix Model::logits(Matrix x, Pass& pass) const {
  const Matrix logits = linear(trunk_.output, normed(trunk_.output_norm, x, pass), pass, trunk_.output_bias);
  if (config_.logit_softcap > 0) pass.backend.softcap(logits, config_.logit_softcap);
  return logits;
}

Session::Session(const Model& model, int64_t n_context, int64_t n_sequences)
    : model_(model),
      n_context_(n_context),
      ids_(static_cast<size_t>(n_sequences)),
      workplaces_(model.config().norm_eps) {
  MemoryRequest request{n_context, n_sequences};
  request.n_batch = std::min(request.n_batch, n_context);
  request.cache_types = model.cache_types();
  model.check_room(request);
  for (int i = 0; i < model.n_layers(); ++i) {
    layers_.push_back(model.layer(i, n_context, layers_));
  }
  // Only now: binding has shown that the configuration's widths are those of real tensors.
  for (int64_t s = 0; s < n_sequences; ++s) {
    KvCache& cache = caches_.emplace_back();
    for (const Layer& layer : layers_) {
      cache.push_back(make_kv_layer(*layer.backend, layer.config.attention, n_context, model.cache_types()));
    }
  }
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
  Backend* at = &model_.backend(0);
  Matrix x = workplaces_.stream(*at, n, model_.config().n_embd);
  for (size_t i = 0; i < batch.size(); ++i) model_.embed(batch[i].ids, x.slice(slices[i].first_row, slices[i].n_rows));
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    x = workplaces_.hand_on(*at, x, *layers_[layer].backend);
    at = layers_[layer].backend;
    for (size_t i = 0; i < batch.size(); ++i) {
      slices[i].kv = &caches_[static_cast<size_t>(batch[i].sequence)][layer];
    }
    Pass pass = workplaces_.pass(*at, /*observer=*/nullptr);
    forward_layer(layers_[layer], x, slices, pass);
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    std::vector<int32_t>& ids = ids_[static_cast<size_t>(batch[i].sequence)];
    ids.insert(ids.end(), batch[i].ids.begin(), batch[i].ids.end());
  }
  return x;
}

Matrix Session::logits(Matrix x) {
  Pass pass = workplaces_.pass(model_.backend(), /*observer=*/nullptr);
  pass.scratch.reset();
  return model_.logits(x, pass);
}

}  // namespace steelyard
