#include "model/layer_sweep.h"

#include <algorithm>
#include <bit>

namespace steelyard {
namespace {

// All bits of the exponent set: infinite or NaN. An OR over all values, so that the loop needs no branch.
bool all_finite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t broken = 0;
  for (const float value : values) broken |= uint32_t{(std::bit_cast<uint32_t>(value) & kExponent) == kExponent};
  return broken == 0;
}

}  // namespace

LayerSweep::LayerSweep(const Model& model, int64_t n_ctx, ChunkIds ids, const SweepOptions& options)
    : model_(model),
      n_ctx_(n_ctx),
      width_(model.config().n_embd),
      n_batch_(std::clamp<int64_t>(options.n_batch, 1, std::max(options.n_batch, n_ctx))),
      n_together_(std::max<int64_t>(1, n_batch_ / n_ctx)),
      ids_(std::move(ids)),
      options_(options),
      workplaces_(model.config().norm_eps) {}

void LayerSweep::begin_window(int64_t first, int64_t n) {
  first_ = first;
  n_ = n;
  next_layer_ = 0;
  broken_.clear();
  if (host_.empty() || static_cast<int64_t>(host_.size()) < std::min(n, n_together_) * n_ctx_ * width_) {
    const int64_t together = std::min(n, n_together_);
    host_.resize(static_cast<size_t>(together) * stream_values());
  }
  const uint64_t room = options_.stream_bytes / (stream_values() * sizeof(float));
  n_in_memory_ = static_cast<int64_t>(std::min<uint64_t>(room, static_cast<uint64_t>(n)));
  streams_.resize(static_cast<size_t>(n_in_memory_) * stream_values());
  if (n_in_memory_ < n && spilled_ == nullptr) spilled_ = std::make_unique<ScratchFile>(options_.scratch_folder);
  if (!options_.keep_layers) model_.will_need(0);
}

void LayerSweep::load(int64_t chunk, float* to) {
  const int64_t at = chunk - first_;
  if (at < n_in_memory_) {
    std::copy_n(streams_.data() + static_cast<size_t>(at) * stream_values(), stream_values(), to);
  } else {
    const auto offset = static_cast<uint64_t>(at - n_in_memory_) * stream_values() * sizeof(float);
    spilled_->read_at(offset, std::as_writable_bytes(std::span(to, stream_values())));
  }
}

void LayerSweep::store(int64_t chunk, const float* from) {
  const int64_t at = chunk - first_;
  if (at < n_in_memory_) {
    std::copy_n(from, stream_values(), streams_.data() + static_cast<size_t>(at) * stream_values());
  } else {
    const auto offset = static_cast<uint64_t>(at - n_in_memory_) * stream_values() * sizeof(float);
    spilled_->write_at(offset, std::as_bytes(std::span(from, stream_values())));
  }
}

bool LayerSweep::is_broken(int64_t chunk) const {
  return std::ranges::find(broken_, chunk, &std::pair<int64_t, int>::first) != broken_.end();
}

void LayerSweep::leave_out(int64_t chunk) {
  if (!is_broken(chunk)) broken_.emplace_back(chunk, next_layer_);
}

void LayerSweep::start(int64_t first, int64_t n) {
  begin_window(first, n);
  Backend& backend = model_.backend(0);
  const Matrix x = workplaces_.stream(backend, n_ctx_, width_);
  for (int64_t c = first; c < first + n; ++c) {
    model_.embed(ids_(c), x);
    backend.download(host_.data(), x.data, stream_values() * sizeof(float));
    if (!all_finite(std::span(host_).first(stream_values()))) broken_.emplace_back(c, -1);
    store(c, host_.data());
  }
  if (!options_.keep_layers) model_.release_embedding();
}

// Sequences of one kind of layer after the other use the same caches; a model has few kinds.
std::vector<KvLayer>& LayerSweep::caches(const Layer& layer, size_t n) {
  const AttentionConfig& config = layer.config.attention;
  auto found = std::ranges::find_if(
      caches_, [&](const Caches& caches) { return caches.backend == layer.backend && caches.config == config; });
  if (found == caches_.end()) found = caches_.insert(caches_.end(), {layer.backend, config, {}});
  while (found->layers.size() < n)
    found->layers.push_back(make_kv_layer(*layer.backend, config, n_ctx_, model_.cache_types()));
  return found->layers;
}

Matrix LayerSweep::forward(const Layer& layer, LayerPart part, std::span<const int64_t> chunks, Matrix x, Pass& pass) {
  std::vector<KvLayer>& kv = caches(layer, chunks.size());
  if (n_batch_ < n_ctx_) {  // a part of one chunk at a time
    for (int64_t begin = 0; begin < n_ctx_; begin += n_batch_) {
      forward_layer(layer, x.slice(begin, std::min(n_batch_, n_ctx_ - begin)), begin, kv[0], pass, part);
    }
    return x;
  }
  std::vector<SequenceSlice> sequences;
  for (size_t s = 0; s < chunks.size(); ++s) {
    sequences.push_back({static_cast<int64_t>(s) * n_ctx_, n_ctx_, 0, &kv[s]});
  }
  forward_layer(layer, x, sequences, pass, part);
  return x;
}

void LayerSweep::for_batches(Backend& backend, int64_t begin, int64_t end, MatmulObserver* observer, bool keep,
                             const BatchWork& work) {
  Pass pass = workplaces_.pass(backend, observer);
  for (int64_t c = begin; c < end; c += n_together_) {
    std::vector<int64_t> chunks;
    for (int64_t i = c; i < std::min(end, c + n_together_); ++i) {
      if (!is_broken(i)) chunks.push_back(i);
    }
    // Until all chunks of the batch come out whole; those that do not are left out of the next attempt.
    for (bool whole = false; !whole && !chunks.empty();) {
      for (size_t i = 0; i < chunks.size(); ++i) load(chunks[i], host_.data() + i * stream_values());
      const auto n = static_cast<int64_t>(chunks.size());
      const Matrix x = workplaces_.stream(backend, n * n_ctx_, width_);
      backend.upload(x.data, host_.data(), chunks.size() * stream_values() * sizeof(float));
      const Matrix y = work(chunks, x, pass);
      STEELYARD_CHECK(y.stride == y.cols && y.rows % n == 0 && y.rows <= x.rows && y.cols == x.cols);
      const auto each = static_cast<size_t>(y.rows / n * y.cols);
      backend.download(host_.data(), y.data, chunks.size() * each * sizeof(float));
      std::vector<int64_t> rest;
      for (size_t i = 0; i < chunks.size(); ++i) {
        if (all_finite(std::span(host_).subspan(i * each, each)))
          rest.push_back(chunks[i]);
        else
          broken_.emplace_back(chunks[i], next_layer_);
      }
      whole = rest.size() == chunks.size();
      if (observer != nullptr) observer->end_batch(backend, whole);
      for (size_t i = 0; keep && whole && i < chunks.size(); ++i) store(chunks[i], host_.data() + i * stream_values());
      chunks = std::move(rest);
    }
  }
}

void LayerSweep::watch(const Layer& layer, LayerPart part, int64_t begin, int64_t end, MatmulObserver& observer) {
  for_batches(
      *layer.backend, begin, end, &observer, /*keep=*/false,
      [&](std::span<const int64_t> chunks, Matrix x, Pass& pass) { return forward(layer, part, chunks, x, pass); });
}

void LayerSweep::advance(const Layer& layer, LayerPart part, MatmulObserver* observer) {
  for_batches(
      *layer.backend, first_, first_ + n_, observer, /*keep=*/true,
      [&](std::span<const int64_t> chunks, Matrix x, Pass& pass) { return forward(layer, part, chunks, x, pass); });
  if (part != LayerPart::kMixer) ++next_layer_;
}

void LayerSweep::run_layer(int i, MatmulObserver* observer) {
  if (options_.keep_layers) {
    while (static_cast<int>(layers_.size()) <= i) {
      layers_.push_back(model_.layer(static_cast<int>(layers_.size()), n_ctx_, layers_));
    }
    return advance(layers_[static_cast<size_t>(i)], LayerPart::kWhole, observer);
  }
  model_.will_need(i + 1);
  advance(model_.layer(i, n_ctx_), LayerPart::kWhole, observer);
  model_.release(i);
}

void LayerSweep::visit(const BatchWork& work, MatmulObserver* observer) {
  for_batches(model_.backend(), first_, first_ + n_, observer, /*keep=*/false, work);
}

void LayerSweep::save(const std::function<void(std::span<const float>)>& write) {
  for (int64_t c = first_; c < first_ + n_; ++c) {
    load(c, host_.data());
    write(std::span<const float>(host_).first(stream_values()));
  }
}

void LayerSweep::restore(int64_t first, int64_t n, int next_layer, std::vector<std::pair<int64_t, int>> broken,
                         const std::function<void(std::span<float>)>& read) {
  begin_window(first, n);
  for (int64_t c = first; c < first + n; ++c) {
    read(std::span(host_).first(stream_values()));
    store(c, host_.data());
  }
  next_layer_ = next_layer;
  broken_ = std::move(broken);
}

}  // namespace steelyard
