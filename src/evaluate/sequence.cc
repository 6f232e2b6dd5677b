#include "evaluate/sequence.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "evaluate/token_score.h"
#include "schedule/non_finite.h"
#include "schedule/session.h"

namespace steelyard::evaluate {

std::vector<double> evaluate_sequence(const model::Model& model, const std::string& path,
                                      std::span<const tokenizer::TokenId> ids, int64_t n_text,
                                      const LogitVisitor& visit) {
  constexpr int64_t kRows = 64;  // of logits at a time
  const auto n = static_cast<int64_t>(ids.size()), n_vocab = model.config().n_vocab;
  schedule::Session session(model, std::max(n, n_text), 1, n_text);
  const compute::Matrix residual = session.forward(ids);
  std::vector<double> nll;
  for (int64_t begin = 0; begin < n; begin += kRows) {
    const int64_t rows = std::min(kRows, n - begin);
    std::vector<float> logits(static_cast<size_t>(rows * n_vocab));
    model.backend().download(logits.data(), session.logits(residual.slice(begin, rows)).data,
                             logits.size() * sizeof(float));
    visit(begin, logits);
    for (int64_t r = 0; r < rows && begin + r + 1 < n; ++r) {
      const auto row =
          std::span<const float>(logits).subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
      const auto next = static_cast<size_t>(ids[static_cast<size_t>(begin + r + 1)]);
      const double value = log_normalizer(row).log_sum - row[next];
      if (!std::isfinite(value)) {
        fail(path, "the logits at position {} are not finite; the first number that is not comes from {}", begin + r,
             schedule::first_non_finite(model, ids));
      }
      nll.push_back(value);
    }
  }
  return nll;
}

}  // namespace steelyard::evaluate
