// What a forward pass needs on each of its backends: scratch memory, and a buffer for the hidden states while they are
// there. The hidden states are transferred where the next layer is on another backend. Models on several devices need
// nothing else. Used by whatever iterates over layers.
#pragma once

#include <map>

#include "model/forward.h"

namespace steelyard::schedule {

class DeviceContexts {
 public:
  explicit DeviceContexts(float norm_eps) : norm_eps_(norm_eps) {}

  /// For computing on `backend`; valid as long as the DeviceContexts.
  model::ForwardContext forward_context(compute::Backend& backend, compute::MatmulObserver* observer = nullptr);

  /// The backend's buffer as [n, width], without gaps between rows. The content of an earlier call is lost when the
  /// buffer has to grow.
  compute::Matrix hidden_states(compute::Backend& backend, int64_t n, int64_t width);

  /// x, hidden states on `from`, transferred to the buffer of `to`; x itself when both are the same.
  compute::Matrix transfer(compute::Backend& from, compute::Matrix x, compute::Backend& to);

 private:
  struct Context {
    explicit Context(compute::Backend& backend) : scratch(backend) {}
    compute::Scratch scratch;
    compute::Buffer hidden_states;
    int64_t n_values = 0;
  };
  Context& context(compute::Backend& backend) { return contexts_.try_emplace(&backend, backend).first->second; }

  float norm_eps_;
  std::map<compute::Backend*, Context> contexts_;
  std::vector<float> host_;  // what is on its way
};

}  // namespace steelyard::schedule
