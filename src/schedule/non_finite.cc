#include "schedule/non_finite.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <vector>

#include "schedule/device_contexts.h"

namespace steelyard::schedule {
namespace {

// The first row of x, which has no gaps between rows, with a number that is not finite.
std::optional<int64_t> broken_row(compute::Backend& backend, compute::Matrix x) {
  std::vector<float> host(static_cast<size_t>(x.rows * x.cols));
  backend.download(host.data(), x.data, host.size() * sizeof(float));
  for (size_t i = 0; i < host.size(); ++i) {
    if (!std::isfinite(host[i])) return static_cast<int64_t>(i) / x.cols;
  }
  return std::nullopt;
}

}  // namespace

std::string first_non_finite(const model::Model& model, std::span<const int32_t> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t width = model.config().hidden_width();
  DeviceContexts contexts(model.config().norm_eps);
  compute::Backend* at = &model.backend(0);
  compute::Matrix x = contexts.hidden_states(*at, n, width);

  model.embed(ids, x);
  if (const auto row = broken_row(*at, x)) return fmt::format("the token embeddings at position {}", *row);
  for (int i = 0; i < model.n_layers(); ++i) {
    const model::Layer layer = model.layer(i, n);
    x = contexts.transfer(*at, x, *layer.backend);
    at = layer.backend;
    model::ForwardContext ctx = contexts.forward_context(*at);
    model::KvLayer kv = make_kv_layer(*at, layer.config.attention, n);
    forward_layer(layer, x, 0, kv, ctx);
    if (const auto row = broken_row(*at, x)) return fmt::format("block {} at position {}", i, *row);
  }
  model::ForwardContext ctx = contexts.forward_context(*at);
  for (int64_t row = 0; row < n; ++row) {  // one at a time: logits of all would be large
    ctx.scratch.reset();
    if (broken_row(*at, model.logits(x.slice(row, 1), ctx))) return fmt::format("the output head at position {}", row);
  }
  return "no place when the text runs alone";
}

}  // namespace steelyard::schedule
