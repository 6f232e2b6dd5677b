#include "command.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "jobs/outputs.h"
#include "model/architecture.h"

namespace steelyard::tools {

namespace {

Type type_named(const std::string& name, std::string_view flag) {
  const Format* format = find_format(name);
  if (format == nullptr) fail("", "{}: unknown type \"{}\"", flag, printable(name));
  return format->type;
}

Precision precision_named(const std::string& name) {
  if (name == "exact") return Precision::kExact;
  if (name == "fast") return Precision::kFast;
  fail("", "--precision: expected exact or fast, found \"{}\"", printable(name));
}

}  // namespace

void PlacementOptions::add_to(CLI::App& command) {
  command
      .add_option("--tensor-split", proportions_,
                  "numbers of layers on the devices in these proportions, e.g. 2,1; by default by memory (-ts)")
      ->delimiter(',');
  command
      .add_option("--gpu-layers", n_layers_,
                  "the last so many layers are on the devices, the others on the host; by default all (-ngl)")
      ->check(CLI::NonNegativeNumber);
}

void CacheTypeOptions::add_to(CLI::App& command) {
  command.add_option("--cache-type-k", keys_, "type of cached keys, or latents (-ctk): f32, f16, bf16, q8_0, q4_0")
      ->capture_default_str();
  command.add_option("--cache-type-v", values_, "type of cached values (-ctv)")->capture_default_str();
}

CacheTypes CacheTypeOptions::get() const { return {type_named(keys_, "-ctk"), type_named(values_, "-ctv")}; }

void ModelOptions::add_to(CLI::App& command, const std::string& precision) {
  precision_ = precision;
  command.add_option("-m,--model", path_, "GGUF model, or the first of its shards")->required();
  command.add_option("-t,--threads", threads_, "threads; all cores by default")->check(CLI::Range(0, kMaxThreads));
  command
      .add_option("--backend", backend_names_,
                  "cpu; cuda or cuda:N, a device; ref: the slow specification; or several, which hold layers in turn")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--devices", devices_, "numbers of CUDA devices: 0,1 is --backend cuda:0,cuda:1")->delimiter(',');
  placement_.add_to(command);
  command
      .add_option("--precision", precision_,
                  "exact: activations as good as in F32; fast: in integers of 8 bits, 16 for weights that are floats")
      ->capture_default_str();
  cache_types_.add_to(command);
}

void ModelOptions::open(int64_t n_context, const OrderOptions* order) {
  set_thread_count(threads_);
  if (!devices_.empty()) backend_names_.clear();
  for (const int device : devices_) backend_names_.push_back(fmt::format("cuda:{}", device));
  reader_.emplace(path_);
  for (const std::string& name : backend_names_) {
    backends_.push_back(make_backend(name, precision_named(precision_)));
  }
  model_.emplace(*reader_, place(n_context, order), cache_types_.get());
}

// The backend of each layer.
std::vector<Backend*> ModelOptions::place(int64_t n_context, const OrderOptions* order) {
  constexpr int64_t kSomeContext = 4096;
  const ModelConfig config = read_config(reader_->metadata());
  std::vector<Backend*> blocks(config.layers.size(), backends_.front().get());
  if (backends_.size() == 1 && !placement_.given()) return blocks;
  if (order != nullptr && !placement_.given() &&
      order->plan(*reader_, config, /*result_bytes=*/0, n_context).order == SweepOrder::kLayer) {
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = backends_[i % backends_.size()].get();
    return blocks;
  }
  MemoryRequest request;
  request.n_context = std::min(config.n_context, n_context > 0 ? n_context : kSomeContext);
  request.cache_types = cache_types_.get();
  for (const LayerConfig& layer : config.layers) check_cache_types(layer.attention, request.cache_types);
  std::vector<uint64_t> rooms;
  for (const auto& backend : backends_) rooms.push_back(backend->free_memory().value_or(physical_memory()));
  const Placement placement = place_layers(plan_memory(*reader_, config, request), placement_.request(rooms));
  for (size_t d = 0; d < placement.devices.size(); ++d) {
    const auto [begin, end] = placement.devices[d];
    std::fill(blocks.begin() + begin, blocks.begin() + end, backends_[d].get());
  }
  if (!placement.host.empty()) {
    backends_.push_back(make_backend("cpu", precision_named(precision_)));
    std::fill_n(blocks.begin(), placement.host.size(), backends_.back().get());
  }
  return blocks;
}

std::vector<std::string> ModelOptions::backend_names() const {
  std::vector<std::string> names;
  for (int i = 0; i < model_->n_layers(); ++i) {
    const std::string name(model_->backend(i).name());
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

// Devices of a kind compute alike, whichever they are: a run may go on on others.
std::string ModelOptions::settings() const {
  std::vector<std::string> kinds;
  for (const std::string& name : backend_names()) {
    const std::string kind = name.substr(0, name.find(':'));
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  const std::string mixture = kinds.size() > 1 ? " " + placement_.settings() : "";
  return fmt::format("{}{} {} {}", fmt::join(kinds, ","), mixture, precision_, cache_types_.settings());
}

void TextOptions::add_to(CLI::App& command) {
  command.add_option("-f,--file", path_, "text");
  command.add_option("-c,--ctx-size", n_ctx_, "tokens per chunk")->capture_default_str();
  command.add_option("--chunks", max_chunks_, "at most this many chunks");
  command.add_flag("--parse-special", parse_special_, "text such as <|user|> becomes the token of that name");
}

void TextOptions::add_stride_to(CLI::App& command) {
  command.add_option("--ppl-stride", stride_, "chunks begin every N tokens and score their last N; 0: no overlap");
}

Chunks TextOptions::chunks(const Tokenizer& tokenizer, int64_t max_chunks) const {
  std::vector<TokenId> ids = tokenize_file(tokenizer, path_, parse_special_);
  if (stride_ != 0) return Chunks::strided(std::move(ids), n_ctx_, stride_, max_chunks, path_);
  return Chunks(std::move(ids), n_ctx_, max_chunks, chunk_bos(tokenizer), path_);
}

void ResumeOptions::add_to(CLI::App& command) {
  command.add_option("--resume", path, "keep progress in this file, and go on from it if it is there");
  command.add_option("--save-every", seconds, "seconds between two saves of progress; 0: after every step")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

bool interactive() { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace steelyard::tools
