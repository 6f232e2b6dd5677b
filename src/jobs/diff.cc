#include "jobs/diff.h"

#include "base/error.h"
#include "gguf/reader.h"
#include "jobs/metadata_view.h"
#include "jobs/source.h"
#include "quantize/verify.h"

namespace steelyard::jobs {
namespace {

WeightErrors describe(const quantize::ErrorSums& sums) {
  return {sums.relative_rmse(), sums.max_abs, sums.cosine(), sums.not_finite};
}

std::optional<TensorSide> describe(const gguf::TensorInfo* tensor) {
  if (tensor == nullptr) return std::nullopt;
  return TensorSide{.type = std::string(format(tensor->type).name),
                    .shape = {tensor->ne.begin(), tensor->ne.begin() + tensor->n_dims},
                    .bytes = tensor->n_bytes};
}

FileSize size_of(const gguf::Source& reader) {
  return {printable(reader.path(), 4096), std::ssize(reader.tensors()), reader.total_bytes(), bits_per_weight(reader)};
}

// The two functions below count what they have done on the thread that called them.
std::function<void(size_t, size_t)> tensors_of(const ProgressCallback& progress) {
  return [&progress](size_t done, size_t count) {
    if (progress) progress({"tensors", static_cast<int64_t>(done), static_cast<int64_t>(count), "tensors", nullptr});
  };
}

}  // namespace

double bits_per_weight(const gguf::Source& reader) {
  double n_elements = 0;
  for (const gguf::TensorInfo& tensor : reader.tensors()) n_elements += static_cast<double>(tensor.n_elements());
  return n_elements > 0 ? 8.0 * static_cast<double>(reader.total_bytes()) / n_elements : 0;
}

ModelDiff diff_models(const std::string& path_a, const std::string& path_b, const ProgressCallback& progress) {
  const auto opened_a = open_source(path_a), opened_b = open_source(path_b);
  const gguf::Source &a = *opened_a, &b = *opened_b;
  ModelDiff result{.a = size_of(a), .b = size_of(b)};
  for (const quantize::MetadataDifference& difference : quantize::compare(a.metadata(), b.metadata())) {
    KeyDiff& row = result.metadata.emplace_back();
    row.key = printable(difference.key(), 1024);
    if (difference.a != nullptr) row.a = value_beside(a.metadata(), *difference.a, b.metadata());
    if (difference.b != nullptr) row.b = value_beside(b.metadata(), *difference.b, a.metadata());
  }
  quantize::ErrorSums total;
  for (const quantize::TensorDifference& tensor : quantize::compare(a, b, tensors_of(progress))) {
    TensorDiff& row = result.tensors.emplace_back();
    row.name = printable(tensor.name(), 1024);
    row.a = describe(tensor.a);
    row.b = describe(tensor.b);
    row.same_bytes = tensor.same_bytes;
    row.comparison = tensor.comparison;
    if (tensor.comparison == quantize::Comparison::kWeights) row.error = describe(tensor.error);
    total.add(tensor.error);
  }
  result.total = describe(total);
  return result;
}

Verification verify_model(const std::string& path, const ProgressCallback& progress) {
  const gguf::Reader file(path);
  quantize::verify(file, tensors_of(progress));
  return {printable(file.path(), 4096), std::ssize(file.tensors())};
}

}  // namespace steelyard::jobs
