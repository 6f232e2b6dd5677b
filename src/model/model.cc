#include "model/model.h"

#include "base/error.h"
#include "model/architecture.h"

namespace steelyard {
namespace {

ModelConfig read_config(const gguf::Metadata& metadata) {
  const Architecture& architecture = find_architecture(metadata);
  return architecture.read(ModelKeys(metadata, architecture.name));
}

}  // namespace

Model::Model(const gguf::Reader& reader, Backend& backend)
    : reader_(reader),
      backend_(backend),
      config_(read_config(reader.metadata())),
      trunk_(bind_trunk(reader, config_, backend)) {}

Layer Model::layer(int i, int64_t n_positions, const Layer* like) const {
  // Bound first: that shows that the widths, which size the table, are those of real tensors.
  Layer layer{config_.layers.at(static_cast<size_t>(i)), bind_layer(reader_, config_, i, backend_), {}};
  const RopeConfig& rope = layer.config.attention.rope;
  const bool shared = like != nullptr && like->config.attention.rope == rope;
  layer.rope = shared ? like->rope : make_rope_table(backend_, rope, trunk_.rope_freqs, n_positions);
  return layer;
}

void Model::embed(std::span<const int32_t> ids, Matrix out) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.n_vocab) fail(reader_.path(), "token {} is beyond the vocabulary of {}", id, config_.n_vocab);
  }
  backend_.embed(trunk_.token_embd, ids, out);
}

Matrix Model::logits(Matrix x, Pass& pass) const { return linear(trunk_.output, normed(trunk_.output_norm, x, pass), pass); }

Session::Session(const Model& model, int64_t n_context)
    : model_(model),
      n_context_(n_context),
      scratch_(model.backend()),
      pass_{model.backend(), scratch_, model.config().norm_eps} {
  for (int i = 0; i < model.n_layers(); ++i) {
    layers_.push_back(model.layer(i, n_context, layers_.empty() ? nullptr : &layers_.back()));
  }
  // Only now: binding has shown that the configuration's widths are those of real tensors.
  cache_ = make_kv_cache(model.backend(), model.config(), n_context);
}

Matrix Session::forward(std::span<const int32_t> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  if (position_ + n > n_context_) fail("", "context of {} tokens is full", n_context_);
  if (n > residual_rows_) {
    residual_ = model_.backend().allocate(static_cast<size_t>(n * model_.config().n_embd) * sizeof(float));
    residual_rows_ = n;
  }
  const int64_t width = model_.config().n_embd;
  const Matrix x{reinterpret_cast<float*>(residual_.get()), n, width, width};
  model_.embed(ids, x);
  for (size_t i = 0; i < layers_.size(); ++i) forward_layer(layers_[i], x, position_, cache_[i], pass_);
  position_ += n;
  return x;
}

Matrix Session::logits(Matrix x) {
  scratch_.reset();
  return model_.logits(x, pass_);
}

}  // namespace steelyard
