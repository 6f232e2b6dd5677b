#include "quantize/preflight.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "gguf/block_name.h"
#include "imatrix/coverage.h"

namespace steelyard::quantize {
namespace {

// "blk.3.ffn_up_exps.weight (5 of 64 experts)", or only the name for a tensor with a single matrix.
std::string with_experts(const gguf::TensorInfo& tensor, int64_t affected, int64_t n_expert) {
  const std::string name = printable(tensor.name);
  return n_expert == 1 ? name : fmt::format("{} ({} of {} experts)", name, affected, n_expert);
}

// Findings about the importance of one tensor that is to be encoded as `to`.
void add_importance(const QuantizeJob& job, const gguf::TensorInfo& tensor, const formats::Format& to,
                    std::vector<plan::Finding>& found) {
  const std::string name = printable(tensor.name);
  const bool is_required = to.importance == formats::Importance::kRequired;
  if (job.imatrix == nullptr) {
    if (!is_required) return;
    add(found, plan::Severity::kError, fmt::format("{} needs importance, and no imatrix is given", to.name), name);
    return;
  }
  const imatrix::ImatrixEntry* entry = nullptr;
  try {
    entry = job.imatrix->find(tensor);
  } catch (const Error& error) {
    add(found, plan::Severity::kError, "the imatrix does not fit the tensor", error.what());
    return;
  }
  if (to.importance == formats::Importance::kIgnored) return;
  if (entry != nullptr && !entry->shared_from.empty()) {
    add(found, plan::Severity::kNote, "has the importance of a matrix with the same input",
        fmt::format("{} (of {})", name, printable(entry->shared_from)));
  }
  const imatrix::Coverage seen = entry != nullptr ? coverage(*entry, job.imatrix->prior_weight) : imatrix::Coverage{};
  if (entry == nullptr || !seen.is_known()) {
    // Calibration observes the layers. The matrices around them are usually left out, so their absence is no surprise.
    const plan::Severity severity = is_required                               ? plan::Severity::kError
                                    : gguf::block_of(tensor.name).has_value() ? plan::Severity::kWarning
                                                                              : plan::Severity::kNote;
    const char* verb = is_required ? "needs" : "can use";
    add(found, severity, fmt::format("{} {} importance, and the imatrix has none for it", to.name, verb), name);
    return;
  }
  if (seen.unseen > 0) {
    add(found, plan::Severity::kWarning, "experts without calibration data borrow the importance of their layer's mean",
        with_experts(tensor, seen.unseen, seen.n_expert));
  }
  if (seen.thin > seen.unseen) {
    add(found, plan::Severity::kNote,
        "experts with less calibration data than their layer's mean weighs (--prior-weight)",
        with_experts(tensor, seen.thin - seen.unseen, seen.n_expert));
  }
  if (seen.zero > 0) {
    add(found, plan::Severity::kWarning, "the importance is all zero", with_experts(tensor, seen.zero, seen.n_expert));
  }
}

// Findings about one tensor, beyond its decision.
void add_tensor(const QuantizeJob& job, const plan::Decision& decision, std::vector<plan::Finding>& found) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& from = format(tensor.type);
  const formats::Format& to = format(decision.type);
  if (from.type == to.type) return;
  const auto error = [&](const std::string& what) { add(found, plan::Severity::kError, what, printable(tensor.name)); };
  if (from.decode == nullptr) return error(fmt::format("{} holds no weights that {} could encode", from.name, to.name));
  if (to.encoder == nullptr) return error(fmt::format("{} cannot be written", to.name));
  if (from.is_quantized() && to.is_quantized() && !job.allow_requantize) {
    error(fmt::format("is {} already; quantizing it again needs --allow-requantize", from.name));
  }
  if (job.layers == nullptr || !job.layers->covers(decision)) add_importance(job, tensor, to, found);
}

}  // namespace

std::vector<plan::Finding> findings(const QuantizeJob& job) {
  std::vector<plan::Finding> found = findings(job.resolution);
  for (const plan::Decision* decision : job.resolution.by_layer()) add_tensor(job, *decision, found);
  if (job.imatrix != nullptr) {
    for (const std::string& name : job.imatrix->strangers) {
      add(found, plan::Severity::kWarning,
          "entry of the imatrix that names no tensor of the model; is it of another model?", printable(name));
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const plan::Finding& a, const plan::Finding& b) { return a.severity < b.severity; });
  return found;
}

void check(const QuantizeJob& job) { refuse(findings(job), job.strict, job.source.path()); }

void check_target(const gguf::Source& source, const std::string& target) {
  for (int shard = 0; shard < source.n_shards(); ++shard) {
    std::error_code ignored;  // a target that does not exist yet is equivalent to nothing
    if (std::filesystem::equivalent(source.shard_path(shard), target, ignored)) fail(target, "is also the source");
  }
}

}  // namespace steelyard::quantize
