#include "jobs/serve.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "base/text_file.h"
#include "schedule/memory_plan.h"
#include "serve/server.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kUsualContext = 4096;
constexpr int64_t kMostParallel = 256;

void check(const ServeOptions& options) {
  const auto require = [](bool holds, const char* flag, int64_t value, const char* range) {
    if (!holds) fail("", "{} is {}, expected {}", flag, value, range);
  };
  require(options.port >= 0 && options.port <= 65535, "--port", options.port, "0 to 65535");
  require(options.ctx_size >= 0, "-c", options.ctx_size, "at least 1");
  require(options.parallel >= 1 && options.parallel <= kMostParallel, "--parallel", options.parallel, "1 to 256");
  require(options.queue >= 1 && options.queue <= 100'000, "--queue", options.queue, "1 to 100000");
  if (options.body_size < 1 << 10 || options.body_size > uint64_t{1} << 30)
    fail("", "--body-size is {} bytes, expected 1KiB to 1GiB", options.body_size);
  if (options.host.empty()) fail("", "--host is empty");
  check(options.sampling);
}

std::string read_key(const ServeOptions& options) {
  if (options.api_key_file.empty()) return options.api_key;
  if (!options.api_key.empty()) fail("", "--api-key and --api-key-file cannot be combined");
  std::string key = read_text_file(options.api_key_file);
  if (key.ends_with('\n')) key.pop_back();
  if (key.empty()) fail(options.api_key_file, "there is no key");
  return key;
}

int64_t context(const ServeOptions& options, const model::ModelConfig& config) {
  const int64_t most = model::longest_context(config);
  if (options.ctx_size > most) fail("", "a context of {} tokens exceeds the model's {}", options.ctx_size, most);
  return options.ctx_size > 0 ? options.ctx_size : std::min(most, kUsualContext);
}

// Devices are asked by the session. The host's weights are maps of the file; what is beside them has to be there.
void check_host_memory(const model::Model& model, const schedule::MemoryRequest& request) {
  if (model.backend().free_memory()) return;
  const schedule::MemoryPlan plan = plan_memory(model.reader(), model.config(), request);
  const schedule::DeviceMemory needed = plan.on_device(plan.all());
  const uint64_t beside = needed.total() - needed.weights;
  if (beside <= physical_memory()) return;
  fail("", "{} texts of {} tokens need {} bytes beside the weights, and the machine has {}", request.n_sequences,
       request.n_context, beside, physical_memory());
}

ModelOptions with_model(ModelOptions options, const std::string& model) {
  options.model = model;
  return options;
}

// Both models once more: a backend computes for one thread at a time, and the engine's is at work.
struct SideBySide {
  SideBySide(const ServeOptions& options, const tokenizer::Tokenizer& tokenizer, int64_t n_context)
      : model(options.model, n_context),
        base(with_model(options.model, options.compare), n_context),
        comparison(model.model(), base.model(), tokenizer, n_context, options.model.threads) {}

  OpenModel model, base;
  serve::Comparison comparison;
};

}  // namespace

ServeResult serve(const ServeOptions& options, const ProgressCallback& progress, const StopRequested& stop) {
  constexpr auto kLook = std::chrono::milliseconds(100);
  check(options);
  const std::string key = read_key(options);
  const OpenModel open(options.model, options.ctx_size);
  const tokenizer::Tokenizer tokenizer(open.reader().metadata());
  const int64_t n_context = context(options, open.model().config());
  schedule::MemoryRequest request{
      .n_context = n_context, .n_sequences = options.parallel, .n_outputs = options.parallel};
  request.cache_types = open.model().cache_types();
  check_host_memory(open.model(), request);

  const std::string name =
      options.alias.empty() ? std::filesystem::path(options.model.model).stem().string() : options.alias;
  serve::Engine engine(open.model(), tokenizer,
                       {.n_slots = options.parallel,
                        .n_context = n_context,
                        .most_waiting = options.queue,
                        .threads = options.model.threads});
  std::optional<chat::Template> chat;
  if (!options.chat_template.empty())
    chat.emplace(chat::TemplateSource::load(options.chat_template), &tokenizer);
  else if (chat::TemplateSource::has(open.reader().metadata()))
    chat.emplace(chat::TemplateSource::of(open.reader().metadata()), &tokenizer);
  serve::ServerOptions server_options{.host = options.host,
                                      .port = static_cast<int>(options.port),
                                      .api_key = key,
                                      .model = name,
                                      .sampling = options.sampling,
                                      .chat = chat ? &*chat : nullptr};
  server_options.limits.body_bytes = static_cast<int64_t>(options.body_size);
  std::optional<SideBySide> side_by_side;
  if (!options.compare.empty()) {
    side_by_side.emplace(options, tokenizer, n_context);
    server_options.comparison = &side_by_side->comparison;
    server_options.base = std::filesystem::path(options.compare).stem().string();
  }
  serve::Server server(engine, tokenizer, std::move(server_options));

  const auto report = [&](std::string_view stage, Json data = nullptr) {
    if (progress) progress({.stage = stage, .data = std::move(data)});
  };
  report("listening", {{"host", options.host},
                       {"port", server.port()},
                       {"model", name},
                       {"context", n_context},
                       {"parallel", options.parallel}});
  while (!(stop && stop())) {
    std::this_thread::sleep_for(kLook);
    report("serving");
  }
  report("draining");
  server.drain();
  check_mapped_files_unchanged();
  const serve::EngineFigures figures = engine.figures();
  return {.texts = figures.texts,
          .cancelled = figures.cancelled,
          .failed = figures.failed,
          .prompt_tokens = figures.prompt_tokens,
          .cached_tokens = figures.cached_tokens,
          .generated_tokens = figures.generated_tokens};
}

}  // namespace steelyard::jobs
