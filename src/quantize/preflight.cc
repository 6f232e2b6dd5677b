#include "quantize/preflight.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/error.h"

namespace steelyard {
namespace {

// Why this tensor cannot get its type; empty when it can.
std::string fault(const QuantizeJob& job, const Decision& decision) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const Format& from = format(tensor.type);
  const Format& to = format(decision.type);
  if (from.type == to.type) return "";
  if (from.decode == nullptr) return fmt::format("{} holds no weights that {} could encode", from.name, to.name);
  if (to.encoder == nullptr) return fmt::format("{} cannot be written", to.name);
  if (from.is_quantized() && to.is_quantized() && !job.allow_requantize) {
    return fmt::format("is {} already; quantizing it again needs --allow-requantize", from.name);
  }
  // The look-up itself throws where the imatrix does not fit the tensor.
  const bool known = job.imatrix != nullptr && job.imatrix->find(tensor) != nullptr;
  if (to.importance == Importance::kRequired && !known) {
    return fmt::format("{} needs importance, and {}", to.name,
                       job.imatrix == nullptr ? "no imatrix is given" : "the imatrix has none for it");
  }
  return "";
}

}  // namespace

void check(const QuantizeJob& job) {
  constexpr size_t kShown = 3;
  std::vector<std::string> faults;
  for (const Decision& decision : job.resolution.decisions) {
    const std::string why = fault(job, decision);
    if (!why.empty()) faults.push_back(printable(decision.tensor->name) + ": " + why);
  }
  if (faults.empty()) return;
  std::string all = faults.front();
  for (size_t i = 1; i < std::min(kShown, faults.size()); ++i) all += "; " + faults[i];
  if (faults.size() > kShown) all += fmt::format("; and {} tensors more", faults.size() - kShown);
  throw Error(job.source.path(), all);
}

void check_target(const gguf::Reader& source, const std::string& target) {
  for (int shard = 0; shard < source.n_shards(); ++shard) {
    std::error_code ignored;  // a target that does not exist yet is equivalent to nothing
    if (std::filesystem::equivalent(source.shard_path(shard), target, ignored)) fail(target, "is also the source");
  }
}

}  // namespace steelyard
