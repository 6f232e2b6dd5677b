#include "jobs/model_findings.h"

#include <algorithm>

#include "base/error.h"
#include "model/architecture.h"
#include "model/inventory.h"

namespace steelyard::jobs {
namespace {

// general.type says so of importance, adapters and the like.
bool is_model(const gguf::Metadata& metadata) {
  const gguf::KeyValue* const type = metadata.find("general.type");
  return type == nullptr || type->type != gguf::ValueType::kString || metadata.string(type->key) == "model";
}

// Files without a tokenizer: a row of the embedding is a token.
int64_t n_embeddings(std::span<const gguf::TensorInfo> tensors) {
  const auto found = std::ranges::find(tensors, "token_embd.weight", &gguf::TensorInfo::name);
  return found == tensors.end() ? 1 : std::max<int64_t>(1, found->ne[1]);
}

}  // namespace

void add_model_findings(const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors,
                        std::vector<plan::Finding>& found) {
  if (tensors.empty() || !is_model(metadata) || !model::knows_architecture(metadata)) return;
  try {
    const model::ModelConfig config = model::read_config(metadata, tensors, n_embeddings(tensors));
    const model::Inventory inventory = model::take_inventory(tensors, config);
    const std::string missing = fmt::format("missing, and {} models need it", config.architecture);
    const std::string misshapen = fmt::format("of another shape than {} models need", config.architecture);
    for (const std::string& name : inventory.missing) add(found, plan::Severity::kWarning, missing, name);
    for (const std::string& tensor : inventory.misshapen) add(found, plan::Severity::kWarning, misshapen, tensor);
  } catch (const Error& error) {  // a variant that is not known here can be quantized all the same
    add(found, plan::Severity::kNote, "whether tensors are missing is not known", error.what());
  }
  std::ranges::stable_sort(found, {}, &plan::Finding::severity);
}

}  // namespace steelyard::jobs
