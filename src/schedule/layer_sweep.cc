#include "schedule/layer_sweep.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/error.h"
#include "base/parallel.h"
#include "base/together.h"
#include "schedule/text_slices.h"

namespace steelyard::schedule {
namespace {

// All bits of the exponent set: infinite or NaN. An OR over all values, so that the loop needs no branch.
bool all_finite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t broken = 0;
  for (const float value : values) broken |= uint32_t{(std::bit_cast<uint32_t>(value) & kExponent) == kExponent};
  return broken == 0;
}

}  // namespace

LayerSweep::LayerSweep(const model::Model& model, int64_t n_ctx, ChunkIds ids, const SweepOptions& options)
    : model_(model),
      n_ctx_(n_ctx),
      width_(model.config().hidden_width()),
      n_batch_(std::clamp<int64_t>(options.n_batch, 1, std::max(options.n_batch, n_ctx))),
      chunks_per_batch_(std::max<int64_t>(1, n_batch_ / n_ctx)),
      ids_(std::move(ids)),
      options_(options) {
  check_context(model.reader().path(), model.config(), n_ctx);
}

void LayerSweep::begin_window(int64_t first, int64_t n) {
  homecoming_.reset();
  first_ = first_stored_ = first;
  n_ = n;
  next_layer_ = last_relayed_ = 0;
  broken_.clear();
  is_broken_.assign(static_cast<size_t>(n), false);
  ahead_ = {};
  if (stages_.empty()) stages_.push_back(std::make_unique<Stage>(model_.config().norm_eps));
  for (const auto& stage : stages_) reserve_buffers(*stage);
  const uint64_t fitting = options_.hidden_state_bytes / (hidden_state_values() * sizeof(float));
  n_in_memory_ = has_window() ? static_cast<int64_t>(std::min<uint64_t>(fitting, static_cast<uint64_t>(n)))
                              : std::min(n, chunks_per_batch_);
  hidden_states_.resize(static_cast<size_t>(n_in_memory_) * hidden_state_values());
  if (has_window() && n_in_memory_ < n && spilled_ == nullptr)
    spilled_ = std::make_unique<ScratchFile>(options_.scratch_folder);
  const int first_layer = is_relayed() ? options_.ranks->rank() : 0;
  if (!options_.keep_layers && first_layer < model_.n_layers()) model_.will_need(first_layer);
}

void LayerSweep::load(int64_t chunk, float* to) {
  const int64_t at = chunk - first_stored_;
  if (at < n_in_memory_) {
    std::copy_n(hidden_states_.data() + static_cast<size_t>(at) * hidden_state_values(), hidden_state_values(), to);
  } else {
    const auto offset = static_cast<uint64_t>(at - n_in_memory_) * hidden_state_values() * sizeof(float);
    spilled_->read_at(offset, std::as_writable_bytes(std::span(to, hidden_state_values())));
  }
}

void LayerSweep::store(int64_t chunk, const float* from) {
  const int64_t at = chunk - first_stored_;
  if (at < n_in_memory_) {
    std::copy_n(from, hidden_state_values(), hidden_states_.data() + static_cast<size_t>(at) * hidden_state_values());
  } else {
    const auto offset = static_cast<uint64_t>(at - n_in_memory_) * hidden_state_values() * sizeof(float);
    spilled_->write_at(offset, std::as_bytes(std::span(from, hidden_state_values())));
  }
}

// For a batch of the window.
void LayerSweep::reserve_buffers(Stage& stage) const {
  const auto n_values = static_cast<size_t>(std::min(n_, chunks_per_batch_)) * hidden_state_values();
  if (stage.host.size() < n_values) stage.host.resize(n_values);
}

bool LayerSweep::is_broken(int64_t chunk) const {
  const std::lock_guard lock(breaking_);
  return is_broken_[static_cast<size_t>(chunk - first_)];
}

// In the order in which one layer after the other would find them.
void LayerSweep::break_off(int64_t chunk, int layer) {
  const std::lock_guard lock(breaking_);
  const std::pair broken(chunk, layer);
  broken_.insert(std::ranges::upper_bound(broken_, std::pair(layer, chunk), {},
                                          [](const auto& each) { return std::pair(each.second, each.first); }),
                 broken);
  is_broken_[static_cast<size_t>(chunk - first_)] = true;
}

void LayerSweep::leave_out(int64_t chunk) {
  if (!is_broken(chunk)) break_off(chunk, next_layer_);
}

void LayerSweep::start(int64_t first, int64_t n) {
  begin_window(first, n);
  if (!has_window()) return;
  compute::Backend& backend = model_.backend(0);
  const compute::Matrix x = stage(0).contexts.hidden_states(backend, n_ctx_, width_);
  std::vector<float>& host = stage(0).host;
  for (int64_t c = first; c < first + n; ++c) {
    model_.embed(ids_(c), x);
    backend.download(host.data(), x.data, hidden_state_values() * sizeof(float));
    if (!all_finite(std::span(host).first(hidden_state_values()))) break_off(c, -1);
    store(c, host.data());
  }
  if (!options_.keep_layers) model_.release_embedding();
  expect_batches();
}

// Layers of the same kind use the same caches in turn; a model has few kinds.
std::vector<model::KvLayer>& LayerSweep::caches(Stage& stage, const model::Layer& layer, size_t n) {
  const model::AttentionConfig& config = layer.config.attention;
  auto found = std::ranges::find_if(stage.caches, [&](const Stage::Caches& caches) {
    return caches.backend == layer.backend && caches.config == config;
  });
  if (found == stage.caches.end()) found = stage.caches.insert(stage.caches.end(), {layer.backend, config, {}});
  while (found->layers.size() < n)
    found->layers.push_back(make_kv_layer(*layer.backend, config, n_ctx_, model_.cache_types()));
  return found->layers;
}

std::span<const int64_t> LayerSweep::starts(int64_t chunk) const {
  return options_.starts ? options_.starts(chunk) : std::span<const int64_t>(kOneText);
}

compute::Matrix LayerSweep::forward(Stage& stage, const model::Layer& layer, model::LayerPart part,
                                    std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
  std::vector<model::KvLayer>& kv = caches(stage, layer, chunks.size());
  if (n_batch_ < n_ctx_) {  // a part of one chunk at a time
    for (int64_t begin = 0; begin < n_ctx_; begin += n_batch_) {
      const int64_t end = std::min(begin + n_batch_, n_ctx_);
      std::vector<model::SequenceSlice> sequences;
      add_text_slices(sequences, layer, starts(chunks[0]), n_ctx_, 0, begin, end, kv[0]);
      forward_layer(layer, x.slice(begin, end - begin), sequences, ctx, part);
    }
    return x;
  }
  std::vector<model::SequenceSlice> sequences;
  for (size_t s = 0; s < chunks.size(); ++s) {
    add_text_slices(sequences, layer, starts(chunks[s]), n_ctx_, static_cast<int64_t>(s) * n_ctx_, 0, n_ctx_, kv[s]);
  }
  forward_layer(layer, x, sequences, ctx, part);
  return x;
}

void LayerSweep::for_batches(const StageRun& run, int64_t begin, int64_t end, const BatchWork& work) {
  model::ForwardContext ctx = stage(run.stage).contexts.forward_context(run.backend, run.observer);
  for (int64_t c = begin, batch = 0; c < end; c += chunks_per_batch_, ++batch) {
    if (run.pipeline != nullptr && !run.pipeline->wait_for(run.stage, batch)) return;
    std::vector<int64_t> chunks;
    for (int64_t i = c; i < std::min(end, c + chunks_per_batch_); ++i) {
      if (!is_broken(i)) chunks.push_back(i);
    }
    pass_batch(run, std::move(chunks), ctx, work);
    if (run.pipeline != nullptr) run.pipeline->passed(run.stage);
  }
}

// Repeats until all chunks of the batch are finite. Chunks that are not are left out of the next attempt.
void LayerSweep::pass_batch(const StageRun& run, std::vector<int64_t> chunks, model::ForwardContext& ctx,
                            const BatchWork& work) {
  Stage& own = stage(run.stage);
  compute::Backend& backend = run.backend;
  for (bool whole = false; !whole && !chunks.empty();) {
    for (size_t i = 0; i < chunks.size(); ++i) load(chunks[i], own.host.data() + i * hidden_state_values());
    const auto n = static_cast<int64_t>(chunks.size());
    const compute::Matrix x = own.contexts.hidden_states(backend, n * n_ctx_, width_);
    backend.upload(x.data, own.host.data(), chunks.size() * hidden_state_values() * sizeof(float));
    const compute::Matrix y = work(chunks, x, ctx);
    STEELYARD_CHECK(y.stride == y.cols && y.rows % n == 0 && y.rows <= x.rows && y.cols == x.cols);
    const auto each = static_cast<size_t>(y.rows / n * y.cols);
    backend.download(own.host.data(), y.data, chunks.size() * each * sizeof(float));
    std::vector<int64_t> rest;
    for (size_t i = 0; i < chunks.size(); ++i) {
      if (all_finite(std::span(own.host).subspan(i * each, each))) {
        rest.push_back(chunks[i]);
      } else {
        break_off(chunks[i], run.layer);
      }
    }
    whole = rest.size() == chunks.size();
    if (run.observer != nullptr) run.observer->end_batch(backend, whole);
    for (size_t i = 0; run.keep && whole && i < chunks.size(); ++i) {
      store(chunks[i], own.host.data() + i * hidden_state_values());
    }
    chunks = std::move(rest);
  }
}

void LayerSweep::reserve_lanes(size_t n) {
  while (stages_.size() < n) {
    stages_.push_back(std::make_unique<Stage>(model_.config().norm_eps));
    reserve_buffers(*stages_.back());
  }
}

void LayerSweep::watch(const model::Layer& layer, model::LayerPart part, int64_t begin, int64_t end,
                       compute::MatmulObserver& observer, size_t lane) {
  for_batches({lane, *layer.backend, &observer, next_layer_, /*keep=*/false}, begin, end,
              [&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
                return forward(stage(lane), layer, part, chunks, x, ctx);
              });
}

void LayerSweep::advance_dealt(std::span<const model::Layer> copies, model::LayerPart part) {
  reserve_lanes(copies.size());
  std::atomic<bool> failed = false;
  run_together(copies.size(), set_thread_count(0), [&](size_t lane) {
    const auto step = static_cast<int64_t>(copies.size()) * chunks_per_batch_, end = first_ + n_;
    try {
      for (int64_t c = first_ + static_cast<int64_t>(lane) * chunks_per_batch_; c < end && !failed; c += step)
        advance_chunks(copies[lane], part, c, std::min(end, c + chunks_per_batch_), nullptr, lane);
    } catch (...) {
      failed = true;
      throw;
    }
  });
  end_part(part);
}

void LayerSweep::advance(const model::Layer& layer, model::LayerPart part, compute::MatmulObserver* observer) {
  advance_chunks(layer, part, first_, first_ + n_, observer);
  end_part(part);
}

void LayerSweep::advance_chunks(const model::Layer& layer, model::LayerPart part, int64_t begin, int64_t end,
                                compute::MatmulObserver* observer, size_t lane) {
  for_batches({lane, *layer.backend, observer, next_layer_, /*keep=*/true}, begin, end,
              [&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
                return forward(stage(lane), layer, part, chunks, x, ctx);
              });
}

void LayerSweep::end_part(model::LayerPart part) {
  if (part != model::LayerPart::kMixer) ++next_layer_;
}

void LayerSweep::advance_together(std::span<const model::Layer> layers,
                                  std::span<compute::MatmulObserver* const> observers) {
  reserve_lanes(layers.size());
  Pipeline pipeline(layers.size());
  pipeline.run([&](size_t s) {
    const StageRun run{s,        *layers[s].backend, observers[s], next_layer_ + static_cast<int>(s), /*keep=*/true,
                       &pipeline};
    for_batches(run, first_, first_ + n_,
                [&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
                  return forward(stage(s), layers[s], model::LayerPart::kWhole, chunks, x, ctx);
                });
  });
  next_layer_ += static_cast<int>(layers.size());
}

int LayerSweep::layers_together(int first) const {
  if (options_.keep_layers) return 1;
  if (is_relayed()) return relayed_layers(*options_.ranks, first, model_.n_layers());
  int end = first + 1;
  const auto is_new = [&](int i) {
    for (int other = first; other < i; ++other) {
      if (&model_.backend(other) == &model_.backend(i)) return false;
    }
    return true;
  };
  while (end < model_.n_layers() && is_new(end)) ++end;
  return end - first;
}

std::vector<model::Layer> LayerSweep::bind(int first, int n) const {
  std::vector<model::Layer> layers;
  for (int i = first; i < first + n; ++i) layers.push_back(model_.layer(i, n_ctx_));
  return layers;
}

std::vector<model::Layer> LayerSweep::take_bound(int first, int n) {
  if (ahead_.valid() && first_ahead_ == first) {
    try {
      std::vector<model::Layer> layers = ahead_.get();
      if (static_cast<int>(layers.size()) == n) return layers;
    } catch (const Error&) {  // memory that was missing may be there by now; what else is wrong still is
    }
  }
  return bind(first, n);
}

// Batches have not allocated their memory yet when the first layer begins. Half of what is free is left for them.
void LayerSweep::bind_ahead(int first, int n) {
  if (n == 0) return;
  bool fits = true;
  for (int i = first; i < first + n; ++i) {
    model_.will_need(i);
    const auto free = model_.backend(i).free_memory();
    fits = fits && (!free || *free / 2 >= model_.block_bytes(i));
  }
  if (!fits) return;
  first_ahead_ = first;
  ahead_ = std::async(std::launch::async, [this, first, n] { return bind(first, n); });
}

void LayerSweep::run_layers(int first, std::span<compute::MatmulObserver* const> observers) {
  const auto n = static_cast<int>(observers.size());
  STEELYARD_CHECK(n >= 1 && n <= layers_together(first));
  if (options_.keep_layers) {
    while (static_cast<int>(layers_.size()) <= first) {
      layers_.push_back(model_.layer(static_cast<int>(layers_.size()), n_ctx_, layers_));
    }
    return advance(layers_[static_cast<size_t>(first)], model::LayerPart::kWhole, observers[0]);
  }
  if (is_relayed()) {
    const int own = options_.ranks->rank();
    if (own < n) relay(first, n, observers[static_cast<size_t>(own)]);
    next_layer_ = first + n;
    return;
  }
  std::vector<model::Layer> layers = take_bound(first, n);
  bind_ahead(first + n, first + n < model_.n_layers() ? layers_together(first + n) : 0);
  if (n == 1)
    advance(layers[0], model::LayerPart::kWhole, observers[0]);
  else
    advance_together(layers, observers);
  layers.clear();
  for (int i = first; i < first + n; ++i) model_.release(i);
}

void LayerSweep::expect_batches() {
  if (!is_relayed()) return;
  const int64_t n_batches = (n_ + chunks_per_batch_ - 1) / chunks_per_batch_;
  homecoming_ = std::make_unique<Homecoming>(*options_.ranks, n_batches, next_layer_, model_.n_layers(),
                                             [this](const RelayedBatch& batch) { take(batch); });
}

// Of all batches.
void LayerSweep::settle() {
  if (homecoming_ == nullptr) return;
  const int64_t n_batches = (n_ + chunks_per_batch_ - 1) / chunks_per_batch_;
  for (int64_t batch = 0; batch < n_batches; ++batch) homecoming_->wait_for(batch, last_relayed_);
}

void LayerSweep::take(const RelayedBatch& batch) {
  for (size_t i = 0; i < batch.chunks.size(); ++i)
    store(batch.chunks[i], batch.hidden_states.data() + i * hidden_state_values());
  for (const auto& [chunk, layer] : batch.broken) {
    if (!is_broken(chunk)) break_off(chunk, layer);
  }
}

// What there is to say of a batch when it leaves this rank.
RelayedBatch LayerSweep::relayed(std::span<const int64_t> chunks, int first_layer) {
  RelayedBatch batch;
  for (const int64_t chunk : chunks) {
    if (!is_broken(chunk)) batch.chunks.push_back(chunk);
  }
  batch.hidden_states.resize(batch.chunks.size() * hidden_state_values());
  for (size_t i = 0; i < batch.chunks.size(); ++i)
    load(batch.chunks[i], batch.hidden_states.data() + i * hidden_state_values());
  const std::lock_guard lock(breaking_);
  for (const auto& [chunk, layer] : broken_) {
    if (layer >= first_layer && std::ranges::find(chunks, chunk) != chunks.end())
      batch.broken.emplace_back(chunk, layer);
  }
  return batch;
}

// This rank's layer of layers [first, first + n), which every batch comes to from the rank before.
void LayerSweep::relay(int first, int n, compute::MatmulObserver* observer) {
  cluster::Ranks& ranks = *options_.ranks;
  const int own = ranks.rank(), number = first + own, ahead = first + n + own;
  std::vector<model::Layer> layer = take_bound(number, 1);
  bind_ahead(ahead, ahead < model_.n_layers() ? 1 : 0);
  const StageRun run{0, *layer[0].backend, observer, number, /*keep=*/true};
  model::ForwardContext ctx = stage(0).contexts.forward_context(run.backend, observer);
  for (int64_t c = first_, batch = 0; c < first_ + n_; c += chunks_per_batch_, ++batch) {
    std::vector<int64_t> chunks;
    if (own == 0) {
      homecoming_->wait_for(batch, first);
      for (int64_t i = c; i < std::min(first_ + n_, c + chunks_per_batch_); ++i) {
        if (!is_broken(i)) chunks.push_back(i);
      }
    } else {
      first_stored_ = c;
      const RelayedBatch arrived = receive_batch(ranks, own - 1);
      take(arrived);
      chunks = arrived.chunks;
      for (const auto& [chunk, layer_before] : arrived.broken) chunks.push_back(chunk);  // to be passed on
    }
    std::vector<int64_t> whole;
    std::ranges::copy_if(chunks, std::back_inserter(whole), [&](int64_t chunk) { return !is_broken(chunk); });
    pass_batch(run, whole, ctx, [&](std::span<const int64_t> of, compute::Matrix x, model::ForwardContext& context) {
      return forward(stage(0), layer[0], model::LayerPart::kWhole, of, x, context);
    });
    if (n > 1) send_batch(ranks, (own + 1) % n, relayed(chunks, first));
  }
  if (n > 1) last_relayed_ = first + n;
  layer.clear();
  model_.release(number);
}

void LayerSweep::visit(const BatchWork& work, compute::MatmulObserver* observer) {
  settle();
  for_batches({0, model_.backend(), observer, next_layer_, /*keep=*/false}, first_, first_ + n_, work);
}

void LayerSweep::save(const std::function<void(std::span<const float>)>& write) {
  settle();
  for (int64_t c = first_; c < first_ + n_; ++c) {
    load(c, stage(0).host.data());
    write(std::span<const float>(stage(0).host).first(hidden_state_values()));
  }
}

void LayerSweep::restore(int64_t first, int64_t n, int next_layer, std::vector<std::pair<int64_t, int>> broken,
                         const std::function<void(std::span<float>)>& read) {
  begin_window(first, n);
  for (int64_t c = first; has_window() && c < first + n; ++c) {
    read(std::span(stage(0).host).first(hidden_state_values()));
    store(c, stage(0).host.data());
  }
  next_layer_ = last_relayed_ = next_layer;
  for (const auto& [chunk, layer] : broken) {
    if (chunk >= first && chunk < first + n) break_off(chunk, layer);
  }
  if (has_window()) expect_batches();
}

}  // namespace steelyard::schedule
