#include "calibrate/imatrix_collector.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "gguf/block_name.h"

namespace steelyard::calibrate {

bool ImatrixCollector::wanted(const compute::Weight& weight) const {
  return weight.name.starts_with("blk.") || (with_output_ && weight.name == "output.weight");
}

// The input of a weight; null when another weight with the same input counts it. The heads of a per-head tensor share
// one row of n_in * n_slices sums and one count, because every token passes through all of them.
ImatrixCollector::Input* ImatrixCollector::input_of(compute::Backend& backend, const compute::Weight& weight,
                                                    bool routed, compute::Matrix x) {
  const int64_t n_in = routed ? weight.n_in : weight.n_in * weight.n_slices;
  const int64_t n_expert = routed ? weight.n_slices : 1;
  for (size_t i = 0; i < n_inputs_; ++i) {
    const auto& readers = inputs_[i].readers;
    if (readers.front() == weight.name) return &inputs_[i];
    if (std::ranges::find(readers, weight.name) != readers.end()) return nullptr;
  }
  // Activations keep their address and values until the block ends, so the same address is the same input.
  for (size_t i = 0; i < n_inputs_; ++i) {
    Input& input = inputs_[i];
    if (input.data != x.data || input.routed != routed || input.n_in != n_in || input.n_expert != n_expert) continue;
    if (!routed && (weight.n_slices > 1 || input.tokens != x.rows)) continue;
    if (gguf::block_of(input.readers.front()) != gguf::block_of(weight.name)) continue;
    input.readers.push_back(weight.name);
    return nullptr;
  }
  if (n_inputs_ == inputs_.size()) inputs_.emplace_back();
  Input& input = inputs_[n_inputs_++];
  input.data = x.data;
  input.readers = {weight.name};
  input.n_in = n_in;
  input.n_expert = n_expert;
  input.tokens = 0;
  input.routed = routed;
  const size_t bytes = static_cast<size_t>(n_expert) * (static_cast<size_t>(n_in) * sizeof(double) + sizeof(int64_t));
  if (bytes > input.bytes || input.backend != &backend) {
    input.sums = backend.allocate(bytes);
    input.backend = &backend;
    input.bytes = bytes;
  }
  backend.zero(input.sums.get(), bytes);
  return &input;
}

void ImatrixCollector::dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice,
                             compute::Matrix x) {
  if (!wanted(weight)) return;
  Input* const input = input_of(backend, weight, /*routed=*/false, x);
  if (input == nullptr) return;
  backend.sum_squares(x, reinterpret_cast<double*>(input->sums.get()) + slice * weight.n_in);
  if (slice == 0) input->tokens += x.rows;
}

void ImatrixCollector::experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
                               const compute::Routing& routing) {
  if (!wanted(weight)) return;
  Input* const input = input_of(backend, weight, /*routed=*/true, x);
  if (input == nullptr) return;
  auto* const sums = reinterpret_cast<double*>(input->sums.get());
  backend.sum_squares_experts(x, routing, sums, reinterpret_cast<int64_t*>(sums + input->n_expert * input->n_in));
}

void ImatrixCollector::end_batch(compute::Backend& backend, bool counts) {
  for (size_t i = 0; counts && i < n_inputs_; ++i) {
    const Input& input = inputs_[i];
    const auto n_sums = static_cast<size_t>(input.n_in * input.n_expert), n_rows = static_cast<size_t>(input.n_expert);
    host_.resize(n_sums * sizeof(double) + n_rows * sizeof(int64_t));
    backend.download(host_.data(), input.sums.get(), host_.size());
    const auto* const sums = reinterpret_cast<const double*>(host_.data());
    const auto* const rows = reinterpret_cast<const int64_t*>(sums + n_sums);
    const std::lock_guard lock(sums_->adding);
    for (const std::string& name : input.readers) {
      imatrix::ImatrixEntry& entry = sums_->entries[name];
      if (entry.in_sum2.empty()) {
        entry = {input.n_in, input.n_expert, std::vector<double>(n_sums), std::vector<int64_t>(n_rows)};
      }
      if (entry.n_in != input.n_in || entry.n_expert != input.n_expert) {  // of a file to resume from
        fail(name, "has [{}, {}] sums, expected [{}, {}]", entry.n_in, entry.n_expert, input.n_in, input.n_expert);
      }
      for (size_t s = 0; s < n_sums; ++s) entry.in_sum2[s] += sums[s];
      for (size_t r = 0; r < n_rows; ++r) entry.counts[r] += input.routed ? rows[r] : input.tokens;
    }
  }
  n_inputs_ = 0;
}

}  // namespace steelyard::calibrate
