#include "model/residual.h"

#include <algorithm>

namespace steelyard::model {

using Kind = StreamsConfig::Kind;

BranchInput read_branch(const Layer& layer, Branch branch, Matrix hidden, ForwardContext& ctx) {
  const StreamsConfig& streams = layer.config.streams;
  switch (streams.kind) {
    case Kind::kOne:
      break;
    case Kind::kParallel:
      if (branch == Branch::kFfn) return {streams.stream(hidden, 1), {}};
      ctx.backend.copy(streams.stream(hidden, 0), streams.stream(hidden, 1));
      break;
    case Kind::kBanked: {
      if (branch == Branch::kMixer)
        return {mix_banked(streams, layer.config.n_banked, layer.weights.attention.res_score, hidden, ctx), {}};
      const int64_t n = layer.config.n_banked + (layer.config.banks ? 1 : 0);
      return {mix_banked(streams, n, layer.weights.ffn.res_score, hidden, ctx), {}};
    }
  }
  return {streams.stream(hidden, 0), {}};
}

void add_branch(const Layer& layer, Branch branch, const BranchInput& /*input*/, Matrix y, Matrix hidden,
                ForwardContext& ctx) {
  const Matrix x = layer.config.streams.stream(hidden, 0);
  if (branch == Branch::kMixer && layer.config.banks) {
    ctx.backend.copy(x, layer.config.streams.stream(hidden, 1 + layer.config.n_banked));
    ctx.backend.copy(y, x);
    return;
  }
  ctx.backend.add(x, y);
}

Matrix mix_banked(const StreamsConfig& streams, int64_t n_banked, const Weight& score, Matrix hidden,
                  ForwardContext& ctx) {
  if (n_banked == 0) return streams.stream(hidden, 0);
  const Matrix normed = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  const Matrix weights = ctx.scratch.matrix(hidden.rows, 1 + n_banked);
  for (int64_t i = 0; i <= n_banked; ++i) {
    ctx.backend.rms_norm(streams.stream(hidden, i), nullptr, ctx.norm_eps, normed);
    // No projection: nobody quantizes one row, so nobody has to see its input.
    const compute::Product of_stream{&score, 0, normed, weights.columns(i, 1)};
    ctx.backend.mul_mats(std::span(&of_stream, 1));
  }
  ctx.backend.softmax(weights);
  const Matrix out = ctx.scratch.matrix(hidden.rows, streams.n_embd);
  ctx.backend.mix_streams(hidden.columns(0, (1 + n_banked) * streams.n_embd), weights, streams.n_embd, out, false);
  return out;
}

void spread(const StreamsConfig& streams, Matrix embedded, std::span<const int32_t> ids, Matrix hidden,
            Backend& backend) {
  // What no layer has written yet is 0.
  if (hidden.cols > streams.n_embd) backend.scale(hidden, 0);
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
