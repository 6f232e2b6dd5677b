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
  }
  return {streams.stream(hidden, 0), {}};
}

void add_branch(const Layer& layer, Branch /*branch*/, const BranchInput& /*input*/, Matrix y, Matrix hidden,
                ForwardContext& ctx) {
  ctx.backend.add(layer.config.streams.stream(hidden, 0), y);
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
