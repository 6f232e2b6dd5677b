#include "model/residual.h"

#include <algorithm>

namespace steelyard::model {

using Kind = StreamsConfig::Kind;

namespace {

// Of every token [pre | post | mix], of the head [pre]: see HyperArgs.
Matrix hyper_weights(const StreamsConfig& streams, const StreamsWeights& w, Matrix hidden, ForwardContext& ctx) {
  const Matrix x = ctx.scratch.matrix(hidden.rows, streams.n * streams.n_embd);
  ctx.backend.rms_norm(streams.all(hidden), nullptr, ctx.norm_eps, x);
  const Matrix m = linear(w.fn, x, ctx);
  ctx.backend.hyper_weights({w.base.data, w.scale.data, streams.n, streams.n_iterations, streams.eps}, m);
  return m;
}

// One stream of all, with the first weights of every token.
Matrix mixed(const StreamsConfig& streams, Matrix weights, Matrix hidden, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  ctx.backend.mix_streams(streams.all(hidden), weights.columns(0, streams.n), streams.n_embd, out, /*add=*/false);
  return out;
}

// Streams mix among each other, and each gets its part of y.
void add_hyper(const StreamsConfig& streams, Matrix weights, Matrix y, Matrix hidden, ForwardContext& ctx) {
  const int64_t n = streams.n;
  const Matrix before = ctx.scratch.matrix(hidden.rows, n * streams.n_embd);
  ctx.backend.copy(streams.all(hidden), before);
  ctx.backend.mix_streams(before, weights.columns(2 * n, n * n), streams.n_embd, streams.all(hidden), /*add=*/false);
  ctx.backend.mix_streams(y, weights.columns(n, n), streams.n_embd, streams.all(hidden), /*add=*/true);
}

// Of each token a mixture of stream 0 and the n_banked next ones, each weighted by its score among them. A view of the
// hidden states where there is nothing to mix.
Matrix mix_banked(const StreamsConfig& streams, int64_t n_banked, const Vector& score, Matrix hidden,
                  ForwardContext& ctx) {
  if (n_banked == 0) return streams.stream(hidden, 0);
  const Matrix x = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  const Matrix weights = ctx.scratch.matrix(hidden.rows, 1 + n_banked);
  const Weight row{.format = &formats::format(formats::Type::F32),
                   .n_in = score.n,
                   .n_out = 1,
                   .data = reinterpret_cast<const std::byte*>(score.data)};
  for (int64_t i = 0; i <= n_banked; ++i) {
    ctx.backend.rms_norm(streams.stream(hidden, i), nullptr, ctx.norm_eps, x);
    const compute::Product of_stream{&row, 0, x, weights.columns(i, 1)};
    ctx.backend.mul_mats(std::span(&of_stream, 1));
  }
  ctx.backend.softmax(weights);
  const Matrix out = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  const Matrix mixed = hidden.columns(0, (1 + n_banked) * streams.n_embd);
  ctx.backend.mix_streams(mixed, weights, streams.n_embd, out, /*add=*/false);
  return out;
}

const StreamsWeights& weights_of(const Layer& layer, Branch branch) {
  return branch == Branch::kMixer ? layer.weights.mixer_streams : layer.weights.ffn_streams;
}

}  // namespace

BranchInput read_branch(const Layer& layer, Branch branch, Matrix hidden, ForwardContext& ctx) {
  const StreamsConfig& streams = layer.config.streams;
  switch (streams.kind) {
    case Kind::kOne:
      break;
    case Kind::kParallel:
      if (branch == Branch::kFfn) return {streams.stream(hidden, 1), {}};
      ctx.backend.copy(streams.stream(hidden, 0), streams.stream(hidden, 1));
      break;
    case Kind::kHyper: {
      const Matrix weights = hyper_weights(streams, weights_of(layer, branch), hidden, ctx);
      return {mixed(streams, weights, hidden, ctx), weights};
    }
    case Kind::kLowRank:
      return read_low_rank(streams, weights_of(layer, branch), hidden, ctx);
    case Kind::kBanked: {
      const int64_t n = layer.config.n_banked + (branch == Branch::kFfn && layer.config.banks ? 1 : 0);
      return {mix_banked(streams, n, weights_of(layer, branch).score, hidden, ctx), {}};
    }
  }
  return {streams.stream(hidden, 0), {}};
}

void add_branch(const Layer& layer, Branch branch, const BranchInput& input, Matrix y, Matrix hidden,
                ForwardContext& ctx) {
  const StreamsConfig& streams = layer.config.streams;
  if (streams.kind == Kind::kHyper) return add_hyper(streams, input.weights, y, hidden, ctx);
  if (streams.kind == Kind::kLowRank) return add_low_rank(streams, input.weights, y, hidden, ctx);
  if (branch == Branch::kMixer && layer.config.banks) {
    ctx.backend.copy(streams.stream(hidden, 0), streams.stream(hidden, 1 + layer.config.n_banked));
    return ctx.backend.copy(y, streams.stream(hidden, 0));
  }
  ctx.backend.add(streams.stream(hidden, 0), y);
}

Matrix read_head(const StreamsConfig& streams, const StreamsWeights& w, Matrix hidden, ForwardContext& ctx) {
  if (streams.kind == Kind::kLowRank) return read_low_rank(streams, w, hidden, ctx).x;
  if (streams.kind == Kind::kBanked) return mix_banked(streams, streams.n - 1, w.score, hidden, ctx);
  if (streams.kind != Kind::kHyper) return streams.stream(hidden, 0);
  if (!streams.mean_head) return mixed(streams, hyper_weights(streams, w, hidden, ctx), hidden, ctx);
  const Matrix mean = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  ctx.backend.copy(streams.stream(hidden, 0), mean);
  for (int64_t i = 1; i < streams.n; ++i) ctx.backend.add(mean, streams.stream(hidden, i));
  ctx.backend.scale(mean, 1.0f / static_cast<float>(streams.n));
  return mean;
}

void spread(const StreamsConfig& streams, Matrix embedded, std::span<const int32_t> ids, Matrix hidden,
            Backend& backend) {
  // What no layer has written yet is 0.
  STEELYARD_CHECK(hidden.stride == hidden.cols);
  if (hidden.cols > streams.n_embd)
    backend.zero(hidden.data, static_cast<size_t>(hidden.rows * hidden.cols) * sizeof(float));
  for (int64_t i = 0; i < streams.n; ++i) backend.copy(embedded, streams.stream(hidden, i));
  if (!streams.has_id) return;
  const std::vector<float> numbers(ids.begin(), ids.end());  // exact: a vocabulary is below 2^24
  const Buffer memory = backend.allocate_copy(numbers.data(), numbers.size() * sizeof(float));
  backend.copy({reinterpret_cast<float*>(memory.get()), hidden.rows, 1, 1}, streams.id(hidden));
}

std::vector<int32_t> token_ids(const StreamsConfig& streams, Matrix hidden, ForwardContext& ctx) {
  STEELYARD_CHECK(streams.has_id);
  const Matrix column = ctx.scratch.matrix(hidden.rows, 1);
  ctx.backend.copy(streams.id(hidden), column);
  std::vector<float> numbers(static_cast<size_t>(hidden.rows));
  ctx.backend.download(numbers.data(), column.data, numbers.size() * sizeof(float));
  std::vector<int32_t> ids(numbers.size());
  std::ranges::transform(numbers, ids.begin(), [](float number) { return static_cast<int32_t>(number); });
  return ids;
}

}  // namespace steelyard::model
