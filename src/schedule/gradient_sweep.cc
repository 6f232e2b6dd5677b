#include "schedule/gradient_sweep.h"

#include <algorithm>

#include "base/error.h"
#include "schedule/text_slices.h"

namespace steelyard::schedule {
namespace {

// What a recurrent mixer is called; null for the others.
const char* recurrence(model::Mixer mixer) {
  switch (mixer) {
    case model::Mixer::kDeltaNet:
      return "a gated delta net";
    case model::Mixer::kShortConv:
      return "a short convolution";
    case model::Mixer::kStateSpace:
      return "a state space layer (Mamba 2)";
    case model::Mixer::kKimiDelta:
      return "a layer of Kimi delta attention";
    case model::Mixer::kCompressed:  // named below
    case model::Mixer::kNone:
    case model::Mixer::kAttention:
    case model::Mixer::kLatent:
      break;
  }
  return nullptr;
}

}  // namespace

GradientSweep::GradientSweep(const model::Model& model, compute::GradientTape& tape, int64_t n_ctx, Scored scored,
                             ChunkIds ids, const SweepOptions& options, model::LoadedTensors* loaded)
    : model_(model),
      tape_(tape),
      n_ctx_(n_ctx),
      width_(model.config().hidden_width()),
      chunks_per_batch_(std::max<int64_t>(1, options.n_batch / n_ctx)),
      scored_(scored),
      ids_(std::move(ids)),
      options_(options),
      loaded_(loaded),
      contexts_(model.config().norm_eps) {
  STEELYARD_CHECK(&model.backend() == &tape && scored.first >= 0 && scored.first + scored.n <= n_ctx);
  require_backward(model.reader().path(), model.config());
  for (const model::LayerConfig& layer : model.config().layers) {
    const model::IndexerConfig& indexer = layer.attention.indexer;
    if (indexer.chooses(n_ctx))
      fail(model.reader().path(),
           "beyond {} tokens attention sees chosen positions only, which has no backward pass here",
           indexer.n_best * indexer.block);
  }
  if (options.keep_layers && model.n_layers() > 0) layer(model.n_layers() - 1);
}

void GradientSweep::require_backward(const std::string& path, const model::ModelConfig& config) {
  using Kind = model::StreamsConfig::Kind;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const model::LayerConfig& layer = config.layers[i];
    if (const char* const mixer = recurrence(layer.attention.mixer))
      fail(path, "blk.{} is {}, which has no backward pass here", i, mixer);
    if (layer.attention.mixer == model::Mixer::kCompressed)
      fail(path, "blk.{} attends to pooled positions, which has no backward pass here", i);
    if (layer.streams.kind != Kind::kOne && layer.streams.kind != Kind::kParallel)
      fail(path, "blk.{} mixes residual streams, which has no backward pass here", i);
  }
}

// 64 MiB of logits.
int64_t GradientSweep::rows_at_once() const {
  constexpr int64_t kValues = int64_t{1} << 24;
  return std::clamp<int64_t>(kValues / model_.config().n_vocab, 1, scored_.n);
}

void GradientSweep::load(size_t state, float* to) {
  if (state < n_in_memory_)
    std::copy_n(in_memory_.data() + state * chunk_values(), chunk_values(), to);
  else
    spilled_->read_at((state - n_in_memory_) * chunk_values() * sizeof(float),
                      std::as_writable_bytes(std::span(to, chunk_values())));
}

void GradientSweep::store(size_t state, const float* from) {
  if (state < n_in_memory_)
    std::copy_n(from, chunk_values(), in_memory_.data() + state * chunk_values());
  else
    spilled_->write_at((state - n_in_memory_) * chunk_values() * sizeof(float),
                       std::as_bytes(std::span(from, chunk_values())));
}

void GradientSweep::to_device(size_t state, size_t count, compute::Matrix x) {
  for (size_t c = 0; c < count; ++c) load(state + c, host_.data() + c * chunk_values());
  tape_.upload(x.data, host_.data(), count * chunk_values() * sizeof(float));
}

void GradientSweep::from_device(compute::Matrix x, size_t state, size_t count) {
  tape_.download(host_.data(), x.data, count * chunk_values() * sizeof(float));
  for (size_t c = 0; c < count; ++c) store(state + c, host_.data() + c * chunk_values());
}

const model::Layer& GradientSweep::layer(int i) {
  if (options_.keep_layers) {
    while (std::ssize(kept_) <= i)
      kept_.push_back(model_.layer(static_cast<int>(std::ssize(kept_)), n_ctx_, kept_, loaded_));
    return kept_[static_cast<size_t>(i)];
  }
  if (now_ != nullptr && now_number_ != i) model_.release(now_number_);
  now_number_ = i;
  now_ = std::make_unique<model::Layer>(model_.layer(i, n_ctx_, {}, loaded_));
  return *now_;
}

void GradientSweep::forward(const model::Layer& layer, std::span<const int64_t> chunks, compute::Matrix x) {
  const model::AttentionConfig& config = layer.config.attention;
  auto found = std::ranges::find(caches_, config, &Caches::config);
  if (found == caches_.end()) found = caches_.insert(caches_.end(), {config, {}});
  while (found->of_chunks.size() < chunks.size()) found->of_chunks.push_back(make_kv_layer(tape_, config, n_ctx_));
  std::vector<model::SequenceSlice> slices;
  for (size_t i = 0; i < chunks.size(); ++i) {
    add_text_slices(slices, layer, options_.starts ? options_.starts(chunks[i]) : std::span<const int64_t>(kOneText),
                    n_ctx_, static_cast<int64_t>(i) * n_ctx_, 0, n_ctx_, found->of_chunks[i]);
  }
  model::ForwardContext ctx = contexts_.forward_context(tape_);
  forward_layer(layer, x, slices, ctx);
}

// work(index of the first chunk, chunks, their rows on the device)
template <typename Work>
void GradientSweep::for_batches(std::span<const int64_t> chunks, const Work& work) {
  for (size_t begin = 0; begin < chunks.size();) {
    const size_t n = std::min(static_cast<size_t>(chunks_per_batch_), chunks.size() - begin);
    work(begin, chunks.subspan(begin, n), contexts_.hidden_states(tape_, static_cast<int64_t>(n) * n_ctx_, width_));
    begin += n;
  }
}

void GradientSweep::pass_forward(std::span<const int64_t> chunks, bool keep) {
  const size_t n = chunks.size(), n_layers = static_cast<size_t>(model_.n_layers());
  const auto boundary = [&](size_t i) { return keep ? i * n : 0; };
  const size_t n_states = boundary(n_layers) + n;
  n_in_memory_ = std::min<size_t>(n_states, options_.hidden_state_bytes / (chunk_values() * sizeof(float)));
  in_memory_.resize(std::max(in_memory_.size(), n_in_memory_ * chunk_values()));
  host_.resize(static_cast<size_t>(chunks_per_batch_) * chunk_values());
  if (n_in_memory_ < n_states && spilled_ == nullptr) spilled_ = std::make_unique<ScratchFile>(options_.scratch_folder);
  for_batches(chunks, [&](size_t first, std::span<const int64_t> batch, compute::Matrix x) {
    for (size_t c = 0; c < batch.size(); ++c)
      model_.embed(ids_(batch[c]), x.slice(static_cast<int64_t>(c) * n_ctx_, n_ctx_));
    from_device(x, boundary(0) + first, batch.size());
  });
  for (size_t i = 0; i < n_layers; ++i) {
    const model::Layer& bound = layer(static_cast<int>(i));
    for_batches(chunks, [&](size_t first, std::span<const int64_t> batch, compute::Matrix x) {
      to_device(boundary(i) + first, batch.size(), x);
      forward(bound, batch, x);
      from_device(x, boundary(i + 1) + first, batch.size());
    });
  }
}

// On the way back the hidden states after the last layer are replaced by the gradient with respect to them.
void GradientSweep::pass_head(std::span<const int64_t> chunks, const Loss& loss, bool back,
                              compute::GradientObserver* observer) {
  const size_t last = back ? static_cast<size_t>(model_.n_layers()) * chunks.size() : 0;
  const compute::Matrix x = contexts_.hidden_states(tape_, n_ctx_, width_);
  model::ForwardContext ctx = contexts_.forward_context(tape_);
  std::vector<float> gradient(chunk_values());
  for (size_t c = 0; c < chunks.size(); ++c) {
    to_device(last + c, 1, x);
    std::ranges::fill(gradient, 0.0f);
    for (int64_t first = 0; first < scored_.n; first += rows_at_once()) {
      const int64_t n = std::min(rows_at_once(), scored_.n - first);
      const compute::Matrix rows = x.slice(scored_.first + first, n);
      ctx.scratch.reset();
      if (back) tape_.record();
      const compute::Matrix logits = model_.logits(rows, ctx);
      loss(chunks[c], first, logits, tape_);
      if (!back) continue;
      tape_.add_gradient(logits, logits);
      tape_.backward(observer);
      tape_.download(gradient.data() + (scored_.first + first) * width_, tape_.gradient(rows).data,
                     static_cast<size_t>(n * width_) * sizeof(float));
    }
    if (back) store(last + c, gradient.data());
  }
}

void GradientSweep::pass_back(std::span<const int64_t> chunks, compute::GradientObserver* observer) {
  const size_t n = chunks.size(), last = static_cast<size_t>(model_.n_layers()) * n;
  for (int i = model_.n_layers() - 1; i >= 0; --i) {
    const model::Layer& bound = layer(i);
    for_batches(chunks, [&](size_t first, std::span<const int64_t> batch, compute::Matrix x) {
      to_device(static_cast<size_t>(i) * n + first, batch.size(), x);
      tape_.record();
      forward(bound, batch, x);
      const compute::Matrix dx = tape_.gradient(x);
      to_device(last + first, batch.size(), dx);
      tape_.backward(observer);
      from_device(dx, last + first, batch.size());
    });
  }
}

void GradientSweep::run(std::span<const int64_t> chunks, const Loss& loss, compute::GradientObserver* observer) {
  pass_forward(chunks, true);
  pass_head(chunks, loss, true, observer);
  pass_back(chunks, observer);
}

void GradientSweep::evaluate(std::span<const int64_t> chunks, const Loss& loss) {
  pass_forward(chunks, false);
  pass_head(chunks, loss, false, nullptr);
}

}  // namespace steelyard::schedule
