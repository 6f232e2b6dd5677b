#include "evaluate/expert_recorder.h"

#include <algorithm>

#include "base/check.h"
#include "gguf/block_name.h"

namespace steelyard::evaluate {
void ExpertRecorder::routed(compute::Backend& backend, const compute::Weight& router, const compute::Routing& routing) {
  const auto layer = gguf::block_of(router.name);
  STEELYARD_CHECK(layer.has_value());
  const auto found = std::ranges::find(shape_.layers, *layer);
  STEELYARD_CHECK(found != shape_.layers.end() && routing.n_used == shape_.n_used);
  std::vector<int32_t> experts(static_cast<size_t>(routing.n_slots()));
  backend.download(experts.data(), routing.expert, experts.size() * sizeof(int32_t));
  layer_ = static_cast<size_t>(found - shape_.layers.begin());
  for (auto token = experts.begin(); token != experts.end(); token += shape_.n_used) {
    std::sort(token, token + shape_.n_used);
    batch_.insert(batch_.end(), token, token + shape_.n_used);
  }
}

void ExpertRecorder::start(int64_t first_chunk) {
  first_chunk_ = first_chunk;
  for (std::vector<uint16_t>& layer : chosen_) layer.clear();
}

// A batch is whole chunks, of which the scored positions are kept.
void ExpertRecorder::end_batch(compute::Backend& /*backend*/, bool counts) {
  const int64_t chunk_values = chunks_.n_ctx() * shape_.n_used;
  const int64_t first = chunks_.first_scored() * shape_.n_used, n = chunks_.n_scored() * shape_.n_used;
  const auto n_values = static_cast<int64_t>(batch_.size());
  for (int64_t at = 0; counts && at < n_values; at += chunk_values) {
    const auto begin = batch_.begin() + at + first;
    chosen_[layer_].insert(chosen_[layer_].end(), begin, begin + n);
  }
  batch_.clear();
}

std::span<const uint16_t> ExpertRecorder::choices(int64_t chunk, int64_t first, int64_t n) {
  rows_.clear();
  const int64_t begin_row = (chunk - first_chunk_) * chunks_.n_scored() + first;
  for (int64_t row = begin_row; row < begin_row + n; ++row) {
    for (const std::vector<uint16_t>& layer : chosen_) {
      const auto begin = layer.begin() + row * shape_.n_used;
      rows_.insert(rows_.end(), begin, begin + shape_.n_used);
    }
  }
  return rows_;
}

RouterCounts& RouterCounts::operator+=(const RouterCounts& other) {
  n_tokens += other.n_tokens;
  n_same += other.n_same;
  n_shared += other.n_shared;
  return *this;
}

double RouterCounts::overlap(int64_t n_used) const {
  return n_tokens == 0 ? 0 : static_cast<double>(n_shared) / static_cast<double>(n_tokens * n_used);
}

void count_agreement(std::span<const uint16_t> a, std::span<const uint16_t> b, std::span<RouterCounts> counts) {
  STEELYARD_CHECK(a.size() == b.size() && a.size() % counts.size() == 0);
  const size_t n_used = a.size() / counts.size();
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    const auto x = a.subspan(layer * n_used, n_used), y = b.subspan(layer * n_used, n_used);
    int64_t shared = 0;
    for (const uint16_t expert : x) shared += std::ranges::binary_search(y, expert);
    counts[layer].n_tokens += 1;
    counts[layer].n_same += shared == static_cast<int64_t>(n_used);
    counts[layer].n_shared += shared;
  }
}

}  // namespace steelyard::evaluate
