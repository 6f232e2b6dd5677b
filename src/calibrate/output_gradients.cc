#include "calibrate/output_gradients.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/parallel.h"
#include "base/random.h"

namespace steelyard::calibrate {
namespace {

// A token drawn by softmax(row).
int32_t draw(std::span<const float> row, Random random) {
  const float largest = *std::ranges::max_element(row);
  double sum = 0;
  for (const float x : row) sum += std::exp(x - largest);
  double left = random.uniform() * sum;
  for (size_t i = 0; i < row.size(); ++i) {
    left -= std::exp(row[i] - largest);
    if (left <= 0) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(row.size() - 1);
}

}  // namespace

OutputGradients::OutputGradients(const model::Model& model, compute::GradientTape& tape,
                                 const tokenizer::Chunks& chunks, const schedule::SweepOptions& sweep, uint64_t seed)
    : n_positions_(chunks.count() * chunks.n_ctx()) {
  schedule::GradientSweep gradients(
      model, tape, chunks.n_ctx(), {0, chunks.n_ctx()}, [&](int64_t chunk) { return chunks.input(chunk); }, sweep);
  std::vector<int64_t> all(static_cast<size_t>(chunks.count()));
  std::iota(all.begin(), all.end(), 0);
  const auto loss = [&](int64_t chunk, int64_t first, compute::Matrix logits, compute::Backend& backend) {
    const auto n_vocab = static_cast<size_t>(logits.cols), n_rows = static_cast<size_t>(logits.rows);
    std::vector<float> host(n_rows * n_vocab);
    backend.download(host.data(), logits.data, host.size() * sizeof(float));
    std::vector<int32_t> labels(n_rows);
    parallel_for(logits.rows, 1, [&](int64_t r) {
      labels[static_cast<size_t>(r)] = draw(std::span(host).subspan(static_cast<size_t>(r) * n_vocab, n_vocab),
                                            Random(seed, static_cast<uint64_t>(chunk * chunks.n_ctx() + first + r)));
    });
    const std::vector<float> certain(n_rows, 1.0f);
    const compute::Buffer tokens = backend.allocate_copy(labels.data(), n_rows * sizeof(int32_t));
    const compute::Buffer probs = backend.allocate_copy(certain.data(), n_rows * sizeof(float));
    const compute::Buffer losses = backend.allocate(n_rows * sizeof(float));
    backend.divergence(logits,
                       {1, reinterpret_cast<const int32_t*>(tokens.get()), reinterpret_cast<const float*>(probs.get())},
                       reinterpret_cast<float*>(losses.get()));
  };
  gradients.run(all, loss, this);
}

std::vector<double> OutputGradients::curvature(const std::string& weight) const {
  const auto found = curvatures_.find(weight);
  return found != curvatures_.end() ? found->second : std::vector<double>();
}

void OutputGradients::product(compute::Backend& backend, const compute::Weight& weight, int64_t slice,
                              compute::Matrix dz, const compute::Routing* routing) {
  const auto n_rows = static_cast<size_t>(dz.rows);
  const compute::Buffer memory = backend.allocate(n_rows * sizeof(float));
  backend.row_sum_squares(dz, reinterpret_cast<float*>(memory.get()));
  std::vector<float> squares(n_rows);
  backend.download(squares.data(), memory.get(), n_rows * sizeof(float));
  std::vector<int32_t> ends;
  if (routing != nullptr) {
    ends.resize(static_cast<size_t>(routing->n_expert) + 1);
    backend.download(ends.data(), routing->row_begin, ends.size() * sizeof(int32_t));
  } else {
    ends.assign(static_cast<size_t>(slice) + 1, 0);
    ends.push_back(static_cast<int32_t>(dz.rows));
  }
  std::vector<double>& sums = curvatures_[weight.name];
  sums.resize(std::max(sums.size(), ends.size() - 1));
  const double scale = 0.5 / static_cast<double>(n_positions_);
  for (size_t s = 0; s + 1 < ends.size(); ++s)
    for (int32_t r = ends[s]; r < ends[s + 1]; ++r) sums[s] += scale * squares[static_cast<size_t>(r)];
}

}  // namespace steelyard::calibrate
