#include "model/model.h"

#include <algorithm>

#include "base/error.h"
#include "gguf/block_name.h"
#include "model/architecture.h"
#include "model/inventory.h"
#include "model/residual.h"

namespace steelyard::model {
namespace {

// A model is not computed without a part of it. Where the trunk lacks something, binding says so, and more clearly.
ModelConfig read_whole_config(const gguf::Source& reader) {
  ModelConfig config = read_config(reader);
  const Inventory inventory = take_inventory(reader.tensors(), config);
  const auto in_trunk = [&](const std::string& tensor) {
    return gguf::block_of(tensor).value_or(0) < std::ssize(config.layers);
  };
  const bool whole =
      std::ranges::none_of(inventory.missing, in_trunk) && std::ranges::none_of(inventory.misshapen, in_trunk);
  const std::vector<std::string>& unknown = inventory.unknown;
  if (unknown.empty() || !whole) return config;
  const std::string others = unknown.size() > 1 ? fmt::format(" and {} more", unknown.size() - 1) : "";
  fail(reader.path(), "tensor {}{}: {} models have no such tensors here, and without them the numbers would be wrong",
       unknown.front(), others, config.architecture);
}

}  // namespace

Model::Model(const gguf::Source& reader, Backend& backend, CacheTypes cache_types, LoadedTensors* loaded)
    : Model(reader, std::vector<Backend*>(read_config(reader).layers.size(), &backend), cache_types, loaded) {}

Model::Model(const gguf::Source& reader, std::vector<Backend*> backends, CacheTypes cache_types, LoadedTensors* loaded)
    : reader_(reader),
      config_(read_whole_config(reader)),
      backends_(std::move(backends)),
      cache_types_(cache_types),
      trunk_(bind_trunk(reader, config_, *backends_.front(), *backends_.back(), loaded)) {
  STEELYARD_CHECK(backends_.size() == config_.layers.size());
  for (const LayerConfig& layer : config_.layers) check_cache_types(layer.attention, cache_types);
  const auto n = static_cast<int>(config_.prediction.size());
  while (config_.runs_prediction && n_predictions_ < n && has_prediction(reader, config_, n_predictions_))
    ++n_predictions_;
  tensors_of_.resize(config_.layers.size() + config_.prediction.size());
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const auto block = gguf::block_of(tensor.name);
    if (block && static_cast<size_t>(*block) < tensors_of_.size()) {
      tensors_of_[static_cast<size_t>(*block)].push_back(&tensor);
    }
  }
}

std::span<const gguf::TensorInfo* const> Model::tensors_of(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= tensors_of_.size()) return {};
  return tensors_of_[static_cast<size_t>(i)];
}

Layer Model::layer_on(Backend& owner, int i, int64_t n_positions, std::span<const Layer> bound,
                      LoadedTensors* loaded) const {
  // Bound first: this proves that the widths, which determine the table's size, are those of real tensors.
  Layer layer{config_.block(static_cast<size_t>(i)), bind_layer(reader_, config_, i, owner, loaded), {}, &owner};
  // A recurrence has no tensors that would prove the widths of its RoPE, and no use for a table.
  if (!layer.config.attention.rotates()) return layer;
  const RopeConfig& rope = layer.config.attention.rope;
  const auto same = std::ranges::find_if(bound, [&](const Layer& other) {
    const AttentionConfig& attention = other.config.attention;
    return other.backend == layer.backend && attention.rotates() && attention.rope == rope;
  });
  if (same != bound.end()) {
    layer.rope = same->rope;
    layer.rope_long = same->rope_long;
    return layer;
  }
  const bool extended = is_extended(rope, n_positions);
  layer.rope = make_rope_table(owner, rope, rope_factors(rope, false), extended ? rope.original_context : n_positions);
  if (extended) layer.rope_long = make_rope_table(owner, rope, rope_factors(rope, true), n_positions);
  return layer;
}

// A file has one tensor for all layers, which may differ in how many pairs they rotate.
std::span<const float> Model::rope_factors(const RopeConfig& rope, bool extended) const {
  const std::span<const float> factors = extended ? trunk_.rope_long : trunk_.rope_short;
  return rope.has_factors && !factors.empty() ? factors.first(static_cast<size_t>(rope.n_dims / 2))
                                              : std::span<const float>();
}

uint64_t Model::block_bytes(int i) const {
  uint64_t bytes = 0;
  for (const gguf::TensorInfo* tensor : tensors_of(i)) bytes += tensor->n_bytes;
  return bytes;
}

PredictionWeights Model::prediction(int i) const { return bind_prediction(reader_, config_, i, backend()); }

void Model::will_need(int i) const {
  for (const gguf::TensorInfo* tensor : tensors_of(i)) reader_.will_need(*tensor, 0, tensor->n_bytes);
}

void Model::release(int i) const {
  for (const gguf::TensorInfo* tensor : tensors_of(i)) reader_.release(*tensor, 0, tensor->n_bytes);
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

void Model::embed(std::span<const int32_t> ids, Matrix out) const {
  const StreamsConfig& streams = config_.streams;
  Backend& first = backend(0);
  if (streams.row_width() == config_.n_embd) return embed(trunk_.token_embd, first, ids, out);
  const Buffer memory = first.allocate(static_cast<size_t>(out.rows * config_.n_embd) * sizeof(float));
  const Matrix embedded{reinterpret_cast<float*>(memory.get()), out.rows, config_.n_embd, config_.n_embd};
  embed(trunk_.token_embd, first, ids, embedded);
  spread(streams, embedded, ids, out, first);
}

Matrix Model::head_input(Matrix x, ForwardContext& ctx) const {
  const Matrix stream = read_head(config_.streams, trunk_.streams, x, ctx);
  if (config_.output_norm.empty()) return stream;
  return config_.centered_norm ? centered_norm(trunk_.output_norm, stream, ctx)
                               : normed(trunk_.output_norm, stream, ctx);
}

Matrix Model::logits(Matrix x, ForwardContext& ctx) const {
  const Matrix logits = linear(trunk_.output, head_input(x, ctx), ctx, trunk_.output_bias);
  if (config_.logit_scale != 1) ctx.backend.scale(logits, config_.logit_scale);
  if (config_.logit_softcap > 0) ctx.backend.softcap(logits, config_.logit_softcap);
  return logits;
}

}  // namespace steelyard::model
