#include "evaluate/sweep_divergence.h"

#include <vector>

#include "base/parallel.h"

namespace steelyard::evaluate {

double sweep_divergence(schedule::GradientSweep& sweep, const tokenizer::Chunks& chunks, const DivergenceBase& base,
                        std::span<const int64_t> of) {
  double sum = 0;
  sweep.evaluate(of, [&](int64_t chunk, int64_t first, compute::Matrix logits, compute::Backend& backend) {
    const auto n_vocab = static_cast<size_t>(logits.cols);
    std::vector<float> host(static_cast<size_t>(logits.rows) * n_vocab);
    backend.download(host.data(), logits.data, host.size() * sizeof(float));
    std::vector<double> rows(static_cast<size_t>(logits.rows));
    parallel_for(logits.rows, 1, [&](int64_t r) {
      const auto target = chunks.targets(chunk)[static_cast<size_t>(first + r)];
      const std::span<const float> row = std::span(host).subspan(static_cast<size_t>(r) * n_vocab, n_vocab);
      rows[static_cast<size_t>(r)] = base.compare(chunk, first + r, target, row).kld;
    });
    for (const double kld : rows) sum += kld;
  });
  return sum / static_cast<double>(std::ssize(of) * chunks.n_scored());
}

}  // namespace steelyard::evaluate
