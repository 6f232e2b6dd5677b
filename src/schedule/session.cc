#include "schedule/session.h"

#include "base/check.h"
#include "base/error.h"
#include "schedule/memory_check.h"

namespace steelyard::schedule {

Session::Session(const model::Model& model, int64_t n_context, int64_t n_sequences, int64_t n_text)
    : model_(model),
      n_context_(n_context),
      n_text_(n_text),
      n_batch_(std::min(MemoryRequest().n_batch, n_context)),
      ids_(static_cast<size_t>(n_sequences)),
      extended_(static_cast<size_t>(n_sequences)),
      contexts_(model.config().norm_eps) {
  check_context(model.reader().path(), model.config(), n_context);
  MemoryRequest request{n_context, n_sequences};
  request.n_batch = n_batch_;
  request.cache_types = model.cache_types();
  check_memory(model, request);
  for (int i = 0; i < model.n_layers(); ++i) {
    layers_.push_back(model.layer(i, n_context, layers_));
  }
  // Only now, because binding has proved that the configuration's widths are those of real tensors.
  for (int64_t s = 0; s < n_sequences; ++s) {
    model::KvCache& cache = caches_.emplace_back();
    for (const model::Layer& layer : layers_) {
      const model::AttentionConfig& attention = layer.config.attention;
      const model::CacheRoom room = cache_room(attention, n_context, n_batch_);
      cache.push_back(make_kv_layer(*layer.backend, attention, room, model.cache_types()));
    }
  }
}

compute::Matrix Session::forward(std::span<const int32_t> ids) {
  const SequenceTokens only{0, ids};
  return forward_batch(std::span(&only, 1));
}

compute::Matrix Session::forward_batch(std::span<const SequenceTokens> batch) {
  return forward_rows(batch, /*alone=*/false);
}

compute::Matrix Session::forward_alone(std::span<const SequenceTokens> batch) {
  STEELYARD_CHECK(std::ranges::all_of(batch, [](const SequenceTokens& tokens) { return tokens.ids.size() == 1; }));
  return forward_rows(batch, /*alone=*/true);
}

compute::Matrix Session::forward_rows(std::span<const SequenceTokens> batch, bool alone) {
  for (const SequenceTokens& tokens : batch) {
    if (std::ssize(tokens.ids) > n_context_ - position(tokens.sequence))
      fail("", "context of {} tokens is full", n_context_);
  }
  for (const SequenceTokens& tokens : batch) {
    const int64_t n = std::max(n_text_, position(tokens.sequence) + std::ssize(tokens.ids));
    const bool extended = std::ranges::any_of(
        layers_, [&](const model::Layer& layer) { return is_extended(layer.config.attention.rope, n); });
    if (extended != extended_[static_cast<size_t>(tokens.sequence)]) begin_again(tokens.sequence, extended);
  }
  return pass(batch, alone);
}

// What the caches hold of a sequence is computed as part of a text that is extended, or is not.
void Session::begin_again(int64_t sequence, bool extended) {
  const std::vector<int32_t> ids = std::exchange(ids_[static_cast<size_t>(sequence)], {});
  extended_[static_cast<size_t>(sequence)] = extended;
  compute::MatmulObserver* const observer = std::exchange(observer_, nullptr);  // it has seen them
  for (std::span<const int32_t> rest = ids; !rest.empty();) {
    const SequenceTokens next{sequence, rest.first(std::min(rest.size(), static_cast<size_t>(n_batch_)))};
    pass(std::span(&next, 1), /*alone=*/false);
    rest = rest.subspan(next.ids.size());
  }
  observer_ = observer;
}

// A cache of a window has room for a part of a long batch. Rows do not depend on each other but through the caches.
void Session::pass_layer(const model::Layer& layer, compute::Matrix x, std::span<const model::SequenceSlice> slices,
                         model::ForwardContext& ctx) const {
  const auto is_short = [&](const model::SequenceSlice& s) { return s.n_rows <= n_batch_; };
  const int64_t n_rows = cache_room(layer.config.attention, n_context_, n_batch_).n_rows;
  if (std::ranges::all_of(slices, is_short) || n_rows == n_context_) return forward_layer(layer, x, slices, ctx);
  for (const model::SequenceSlice& s : slices) {
    for (int64_t begin = 0; begin < s.n_rows; begin += n_batch_) {
      model::SequenceSlice part = s;
      part.first_row = 0;
      part.n_rows = std::min(n_batch_, s.n_rows - begin);
      part.first_position += begin;
      forward_layer(layer, x.slice(s.first_row + begin, part.n_rows), std::span(&part, 1), ctx);
    }
  }
}

compute::Matrix Session::pass(std::span<const SequenceTokens> batch, bool alone) {
  int64_t n = 0;
  std::vector<model::SequenceSlice> slices;
  for (const SequenceTokens& tokens : batch) {
    const auto n_rows = static_cast<int64_t>(tokens.ids.size());
    slices.push_back({n, n_rows, position(tokens.sequence), nullptr, 0,
                      static_cast<bool>(extended_[static_cast<size_t>(tokens.sequence)])});
    n += n_rows;
  }
  compute::Backend* at = &model_.backend(0);
  compute::Matrix x = contexts_.hidden_states(*at, n, model_.config().hidden_width());
  for (size_t i = 0; i < batch.size(); ++i) model_.embed(batch[i].ids, x.slice(slices[i].first_row, slices[i].n_rows));
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    x = contexts_.transfer(*at, x, *layers_[layer].backend);
    at = layers_[layer].backend;
    for (size_t i = 0; i < batch.size(); ++i) {
      slices[i].kv = &caches_[static_cast<size_t>(batch[i].sequence)][layer];
    }
    model::ForwardContext ctx = contexts_.forward_context(*at, observer_);
    const compute::RowsAlone rows_alone(*at, alone);
    pass_layer(layers_[layer], x, slices, ctx);
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

compute::Matrix Session::logits_alone(compute::Matrix x) {
  const compute::RowsAlone rows_alone(model_.backend());
  return logits(x);
}

bool Session::has_whole_past() const {
  return std::ranges::all_of(layers_, [](const model::Layer& layer) { return is_whole_past(layer.config.attention); });
}

void Session::rewind(int64_t sequence, int64_t n) {
  STEELYARD_CHECK(n <= position(sequence) && (n == 0 || n == position(sequence) || has_whole_past()));
  ids_[static_cast<size_t>(sequence)].resize(static_cast<size_t>(n));
}

void Session::copy_past(int64_t from, int64_t to, int64_t n) {
  STEELYARD_CHECK(from != to && n <= position(from) && has_whole_past());
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    copy_rows(*layers_[layer].backend, caches_[static_cast<size_t>(from)][layer],
              caches_[static_cast<size_t>(to)][layer], n);
  }
  const std::vector<int32_t>& ids = ids_[static_cast<size_t>(from)];
  ids_[static_cast<size_t>(to)].assign(ids.begin(), ids.begin() + n);
  extended_[static_cast<size_t>(to)] = static_cast<bool>(extended_[static_cast<size_t>(from)]);
}

}  // namespace steelyard::schedule
