#include "schedule/device_contexts.h"

namespace steelyard::schedule {

model::ForwardContext DeviceContexts::forward_context(compute::Backend& backend, compute::MatmulObserver* observer) {
  return {backend, context(backend).scratch, norm_eps_, observer};
}

compute::Matrix DeviceContexts::hidden_states(compute::Backend& backend, int64_t n, int64_t width) {
  Context& here = context(backend);
  if (n * width > here.n_values) {
    here.hidden_states.reset();  // first, so that both need not fit
    here.hidden_states = backend.allocate(static_cast<size_t>(n * width) * sizeof(float));
    here.n_values = n * width;
  }
  return {reinterpret_cast<float*>(here.hidden_states.get()), n, width, width};
}

compute::Matrix DeviceContexts::transfer(compute::Backend& from, compute::Matrix x, compute::Backend& to) {
  if (&from == &to) return x;
  STEELYARD_CHECK(x.stride == x.cols);
  const compute::Matrix y = hidden_states(to, x.rows, x.cols);
  host_.resize(static_cast<size_t>(x.rows * x.cols));
  from.download(host_.data(), x.data, host_.size() * sizeof(float));
  to.upload(y.data, host_.data(), host_.size() * sizeof(float));
  return y;
}

}  // namespace steelyard::schedule
