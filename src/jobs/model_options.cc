#include "jobs/model_options.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "jobs/source.h"
#include "jobs/threads.h"
#include "model/architecture.h"

namespace steelyard::jobs {
namespace {

formats::Type type_named(const std::string& name, std::string_view option) {
  const formats::Format* format = formats::find_format(name);
  if (format == nullptr) fail("", "{}: unknown type \"{}\"", option, printable(name));
  return format->type;
}

compute::Precision precision_named(const std::string& name) {
  if (name == "exact") return compute::Precision::kExact;
  if (name == "fast") return compute::Precision::kFast;
  fail("", "--precision: expected exact or fast, found \"{}\"", printable(name));
}

}  // namespace

model::CacheTypes CacheOptions::types() const {
  return {type_named(cache_type_k, "-ctk"), type_named(cache_type_v, "-ctv")};
}

OpenModel::OpenModel(const ModelOptions& options, int64_t n_context, const SweepChoice* sweep) : options_(options) {
  use_threads(options.threads);
  reader_ = open_source(options.model);
  for (const std::string& name : options.backend) {
    backends_.push_back(make_backend(name, precision_named(options.precision)));
  }
  if (backends_.empty()) fail("", "--backend: expected at least one");
  model_.emplace(*reader_, place(n_context, sweep), options.cache.types());
}

// The backend of each layer.
std::vector<compute::Backend*> OpenModel::place(int64_t n_context, const SweepChoice* sweep) {
  constexpr int64_t kSomeContext = 4096;
  const PlacementOptions& placement = options_.placement;
  const model::ModelConfig config = model::read_config(*reader_);
  std::vector<compute::Backend*> blocks(config.layers.size(), backends_.front().get());
  if (backends_.size() == 1 && !placement.given()) return blocks;
  if (sweep != nullptr && !placement.given() &&
      sweep->plan(*reader_, config, /*result_bytes=*/0, n_context).order == schedule::SweepOrder::kLayer) {
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = backends_[i % backends_.size()].get();
    return blocks;
  }
  schedule::MemoryRequest request;
  request.n_context = std::min(config.n_context, n_context > 0 ? n_context : kSomeContext);
  request.cache_types = options_.cache.types();
  for (const model::LayerConfig& layer : config.layers) check_cache_types(layer.attention, request.cache_types);
  std::vector<uint64_t> free_bytes;
  for (const auto& backend : backends_) free_bytes.push_back(backend->free_memory().value_or(physical_memory()));
  const schedule::Placement placed =
      place_layers(plan_memory(*reader_, config, request), placement.request(free_bytes));
  for (size_t d = 0; d < placed.devices.size(); ++d) {
    const auto [begin, end] = placed.devices[d];
    std::fill(blocks.begin() + begin, blocks.begin() + end, backends_[d].get());
  }
  if (!placed.host.empty()) {
    backends_.push_back(make_backend("cpu", precision_named(options_.precision)));
    std::fill_n(blocks.begin(), placed.host.size(), backends_.back().get());
  }
  return blocks;
}

std::vector<std::string> OpenModel::backend_names() const {
  std::vector<std::string> names;
  for (int i = 0; i < model_->n_layers(); ++i) {
    const std::string name(model_->backend(i).name());
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string OpenModel::settings() const {
  std::vector<std::string> kinds;
  for (const std::string& name : backend_names()) {
    const std::string kind = name.substr(0, name.find(':'));
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  const std::string mixture = kinds.size() > 1 ? fmt::format(" {} {}", fmt::join(options_.placement.tensor_split, ","),
                                                             options_.placement.gpu_layers)
                                               : "";
  return fmt::format("{}{} {} {} {}", fmt::join(kinds, ","), mixture, options_.precision, options_.cache.cache_type_k,
                     options_.cache.cache_type_v);
}

}  // namespace steelyard::jobs
