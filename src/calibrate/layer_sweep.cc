#include "calibrate/layer_sweep.h"

#include <algorithm>

namespace steelyard {
namespace {

// Tokens that go through a layer together: whole chunks, at least one.
constexpr int64_t kBatchTokens = 2048;

int64_t batch_chunks(int64_t n_ctx) { return std::max<int64_t>(1, kBatchTokens / n_ctx); }

}  // namespace

LayerSweep::LayerSweep(const Model& model, const Chunks& chunks)
    : model_(model),
      n_ctx_(chunks.n_ctx()),
      n_chunks_(chunks.count()),
      width_(model.config().n_embd),
      streams_(static_cast<size_t>(n_chunks_ * n_ctx_ * width_)),
      scratch_(model.backend()) {
  Backend& backend = model.backend();
  batch_ = backend.allocate(static_cast<size_t>(batch_chunks(n_ctx_) * n_ctx_ * width_) * sizeof(float));
  const Matrix x{reinterpret_cast<float*>(batch_.get()), n_ctx_, width_, width_};
  for (int64_t c = 0; c < n_chunks_; ++c) {
    model.embed(chunks.input(c), x);
    backend.download(streams_.data() + c * n_ctx_ * width_, x.data,
                     static_cast<size_t>(n_ctx_ * width_) * sizeof(float));
  }
}

void LayerSweep::watch(const Layer& layer, int64_t begin, int64_t end, MatmulObserver& observer) {
  pass(layer, begin, end, &observer, /*keep=*/false);
}

void LayerSweep::advance(const Layer& layer) { pass(layer, 0, n_chunks_, nullptr, /*keep=*/true); }

void LayerSweep::pass(const Layer& layer, int64_t begin, int64_t end, MatmulObserver* observer, bool keep) {
  Backend& backend = model_.backend();
  Pass pass{backend, scratch_, model_.config().norm_eps, observer};
  std::vector<KvLayer> caches;
  for (int64_t c = begin; c < end; c += batch_chunks(n_ctx_)) {
    const int64_t n = std::min(batch_chunks(n_ctx_), end - c);
    const size_t bytes = static_cast<size_t>(n * n_ctx_ * width_) * sizeof(float);
    float* const host = streams_.data() + c * n_ctx_ * width_;
    const Matrix x{reinterpret_cast<float*>(batch_.get()), n * n_ctx_, width_, width_};
    backend.upload(x.data, host, bytes);
    std::vector<SequenceSlice> sequences;
    while (static_cast<int64_t>(caches.size()) < n)
      caches.push_back(make_kv_layer(backend, layer.config.attention, n_ctx_));
    for (int64_t s = 0; s < n; ++s) sequences.push_back({s * n_ctx_, n_ctx_, 0, &caches[static_cast<size_t>(s)]});
    forward_layer(layer, x, sequences, pass);
    if (keep) backend.download(host, x.data, bytes);
  }
}

}  // namespace steelyard
