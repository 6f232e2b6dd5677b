#include "calibrate/moment_collector.h"

namespace steelyard {

// The input to count through this weight, or null if another weight has counted the same one. Inputs of one layer lie
// side by side in scratch memory, so the same place within a layer is the same input; the pairs are settled when a
// weight is first seen.
MomentCollector::Input* MomentCollector::count_here(Backend& backend, const Weight& weight, int64_t n_slices,
                                                    Matrix x) {
  std::shared_ptr<Input>& input = inputs_[weight.name];
  if (input == nullptr) {
    for (const auto& [name, other] : inputs_) {
      if (other != nullptr && other->last == x.data && other->n == x.cols && other->n_slices == n_slices) input = other;
    }
  }
  if (input == nullptr) {
    input = std::make_shared<Input>();
    input->n = x.cols;
    input->n_slices = n_slices;
    input->owner = weight.name;
    input->tokens.resize(static_cast<size_t>(n_slices));
    const auto zeros = [&](int64_t bytes) {
      Buffer buffer = backend.allocate(static_cast<size_t>(bytes));
      backend.zero(buffer.get(), static_cast<size_t>(bytes));
      return buffer;
    };
    input->sums = zeros(n_slices * x.cols * x.cols * static_cast<int64_t>(sizeof(float)));
    input->counts = zeros(n_slices * static_cast<int64_t>(sizeof(int64_t)));
  }
  if (input->owner != weight.name) return nullptr;
  input->last = x.data;
  return input.get();
}

void MomentCollector::dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) {
  Input* const input = count_here(backend, weight, weight.n_slices, x);
  if (input == nullptr) return;
  backend.second_moments(x, reinterpret_cast<float*>(input->sums.get()) + slice * x.cols * x.cols);
  input->tokens[static_cast<size_t>(slice)] += x.rows;
}

void MomentCollector::experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) {
  Input* const input = count_here(backend, weight, weight.n_slices, x);
  if (input == nullptr) return;
  backend.second_moments_experts(x, routing, reinterpret_cast<float*>(input->sums.get()),
                                 reinterpret_cast<int64_t*>(input->counts.get()));
}

std::map<std::string, std::shared_ptr<const SecondMoments>> MomentCollector::take(Backend& backend) {
  std::map<const Input*, std::shared_ptr<const SecondMoments>> made;
  std::map<std::string, std::shared_ptr<const SecondMoments>> result;
  for (const auto& [name, input] : inputs_) {
    std::shared_ptr<const SecondMoments>& moments = made[input.get()];
    if (moments == nullptr) {
      SecondMoments own{input->n, input->n_slices, {}, input->tokens};
      own.sums.resize(static_cast<size_t>(own.n_slices * own.n * own.n));
      backend.download(own.sums.data(), input->sums.get(), own.sums.size() * sizeof(float));
      std::vector<int64_t> routed(own.counts.size());
      backend.download(routed.data(), input->counts.get(), routed.size() * sizeof(int64_t));
      for (size_t s = 0; s < routed.size(); ++s) own.counts[s] += routed[s];
      moments = std::make_shared<const SecondMoments>(std::move(own));
    }
    result.emplace(name, moments);
  }
  inputs_.clear();
  return result;
}

}  // namespace steelyard
