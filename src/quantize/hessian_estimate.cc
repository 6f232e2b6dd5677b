#include "quantize/hessian_estimate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "base/parallel.h"
#include "formats/format.h"
#include "gguf/block_name.h"
#include "quantize/matrix.h"

namespace steelyard::quantize {
namespace {

// Rows that are decoded together, and columns of a product that a thread takes at a time.
constexpr int64_t kRows = 256, kColumns = 128;

// Passes the rows of a slice to use(rows [., ne0]), `at_once` rows at a time.
template <typename Use>
void for_rows(const gguf::Source& source, const gguf::TensorInfo& tensor, int64_t slice, int64_t at_once,
              const Use& use) {
  const formats::Format& from = format(tensor.type);
  const int64_t n = tensor.ne[0], n_rows = tensor.ne[1];
  const auto row_bytes = static_cast<uint64_t>(n / from.block_len) * from.block_bytes;
  const uint64_t begin = static_cast<uint64_t>(slice * n_rows) * row_bytes;
  for (int64_t at = 0; at < n_rows; at += at_once) {
    FloatMatrix rows(std::min(at_once, n_rows - at), n);
    const uint64_t from_begin = begin + static_cast<uint64_t>(at) * row_bytes;
    const gguf::Bytes stored =
        source.read(tensor, from_begin, from_begin + static_cast<uint64_t>(rows.rows()) * row_bytes);
    parallel_for(rows.rows(), 16, [&](int64_t r) {
      from.decode(stored.data() + static_cast<uint64_t>(r) * row_bytes, n / from.block_len, rows.row(r).data());
    });
    use(rows);
  }
  source.release(tensor, begin, begin + static_cast<uint64_t>(n_rows) * row_bytes);
}

// Adds a b to `sum` [n, n] on and below the diagonal, in an order that does not depend on threads.
template <typename A, typename B>
void add_product(const A& a, const B& b, FloatMatrix& sum) {
  const int64_t n = sum.rows();
  parallel_for((n + kColumns - 1) / kColumns, 1, [&](int64_t panel) {
    const int64_t begin = panel * kColumns, width = std::min(kColumns, n - begin);
    sum.block(begin, begin, n - begin, width).noalias() += a.bottomRows(n - begin) * b.middleCols(begin, width);
  });
}

// Products of the columns of all consumers, or of the rows of a producer, [n, n] on and below the diagonal.
FloatMatrix products_of_columns(const HessianEstimate& input, int64_t slice, int64_t n) {
  FloatMatrix sum = FloatMatrix::Zero(n, n);
  for (const gguf::TensorInfo* consumer : input.consumers) {
    for_rows(input.source, *consumer, slice, kRows,
             [&](const FloatMatrix& rows) { add_product(rows.transpose(), rows, sum); });
  }
  return sum;
}

FloatMatrix products_of_rows(const gguf::Source& source, const gguf::TensorInfo& producer, int64_t slice, int64_t n) {
  FloatMatrix sum = FloatMatrix::Zero(n, n);
  for_rows(source, producer, slice, n, [&](const FloatMatrix& rows) { add_product(rows, rows.transpose(), sum); });
  return sum;
}

// H is the product of all factors' correlations, scaled by the square roots of its diagonal.
void multiply_by_correlations(const FloatMatrix& products, std::vector<float>& hessian) {
  const int64_t n = products.rows();
  std::vector<float> inverse(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    inverse[static_cast<size_t>(i)] = products(i, i) == 0.0f ? 0.0f : 1.0f / std::sqrt(products(i, i));
  }
  parallel_for(n, 64, [&](int64_t i) {
    for (int64_t k = 0; k < n; ++k) {
      if (i == k) continue;
      const auto [column, row] = std::minmax(i, k);
      hessian[static_cast<size_t>(i * n + k)] *=
          products(row, column) * (inverse[static_cast<size_t>(column)] * inverse[static_cast<size_t>(row)]);
    }
  });
}

}  // namespace

std::vector<float> HessianEstimate::hessian(int64_t slice, const std::vector<float>& importance) const {
  const auto n = static_cast<int64_t>(importance.size());
  std::vector<float> roots(importance.size()), hessian(importance.size() * importance.size());
  std::ranges::transform(importance, roots.begin(), [](float square) { return std::sqrt(square); });
  parallel_for(n, 64, [&](int64_t i) {
    for (int64_t k = 0; k < n; ++k) {
      hessian[static_cast<size_t>(i * n + k)] = roots[static_cast<size_t>(i)] * roots[static_cast<size_t>(k)];
    }
  });
  if (!consumers.empty()) multiply_by_correlations(products_of_columns(*this, slice, n), hessian);
  for (const gguf::TensorInfo* producer : producers) {
    multiply_by_correlations(products_of_rows(source, *producer, slice, n), hessian);
  }
  return hessian;
}

HessianEstimates::HessianEstimates(const gguf::Source& source, const plan::Resolution& resolution,
                                   const imatrix::Imatrix& imatrix) {
  using Input = std::tuple<int64_t, int64_t, int64_t, std::vector<double>, std::vector<int64_t>>;
  std::map<Input, std::vector<const gguf::TensorInfo*>> consumers_of;
  std::map<std::string_view, const gguf::TensorInfo*> by_name;
  for (const plan::Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    const auto block = gguf::block_of(tensor.name);
    if (!block || format(tensor.type).decode == nullptr) continue;
    by_name[tensor.name] = &tensor;
    const imatrix::ImatrixEntry* const entry = imatrix.find(tensor);
    if (entry == nullptr) continue;
    consumers_of[{*block, tensor.ne[0], tensor.ne[2] * tensor.ne[3], entry->in_sum2, entry->counts}].push_back(&tensor);
  }
  for (auto& [input, consumers] : consumers_of) {
    if (consumers.size() < 2) continue;
    std::ranges::sort(consumers, {}, &gguf::TensorInfo::name);
    const auto estimate =
        std::make_shared<const HessianEstimate>(HessianEstimate{.source = source, .consumers = consumers});
    for (const gguf::TensorInfo* consumer : consumers) estimates_[consumer] = estimate;
  }
  constexpr std::string_view kDown = "ffn_down";
  for (const auto& [name, down] : by_name) {
    const size_t at = name.find(kDown);
    if (at == name.npos || estimates_.contains(down)) continue;
    std::vector<const gguf::TensorInfo*> producers;
    for (const std::string_view producer : {"ffn_gate", "ffn_up"}) {
      const auto found = by_name.find(std::string(name).replace(at, kDown.size(), producer));
      if (found == by_name.end()) continue;
      const gguf::TensorInfo& tensor = *found->second;
      if (tensor.ne[1] == down->ne[0] && tensor.ne[2] * tensor.ne[3] == down->ne[2] * down->ne[3]) {
        producers.push_back(&tensor);
      }
    }
    if (producers.size() < 2) continue;
    estimates_[down] =
        std::make_shared<const HessianEstimate>(HessianEstimate{.source = source, .producers = producers});
  }
}

const HessianEstimate* HessianEstimates::find(const gguf::TensorInfo& tensor) const {
  const auto found = estimates_.find(&tensor);
  return found == estimates_.end() ? nullptr : found->second.get();
}

}  // namespace steelyard::quantize
