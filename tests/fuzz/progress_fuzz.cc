// Any bytes as the state of an interrupted run. The first byte says of which kind; the frame with its checksum
// (base/resume_file.h) is put around the others, because no mutation would get past it. Kind 0 is a file without
// frame.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/resume_file.h"
#include "calibrate/collect_state.h"
#include "compute/backend.h"
#include "evaluate/evaluation.h"
#include "fuzz/target.h"
#include "gguf/reader.h"
#include "jobs/own_text.h"
#include "jobs/search_state.h"
#include "tune/tuner.h"

namespace steelyard::jobs {
namespace {

using fuzz::g_sink;

constexpr int64_t kContext = 4, kChunks = 4;

std::string golden_model() { return std::string(STEELYARD_SOURCE_DIR) + "/tests/golden/models/llama/model.gguf"; }

const std::string& identity() {
  static const std::string identity(kSha256Digits, '0');
  return identity;
}

void load_evaluation(const std::string& path) {
  const auto progress = evaluate::load_progress(evaluate::open_progress(path, identity()));
  if (progress) g_sink = progress->scores.size() + progress->routers.size();
}

void load_search(const std::string& path) {
  const SearchState state(path, identity());
  g_sink = state.in_layers.size() + state.files.size();
}

void load_text(const std::string& path) {
  const ResumeFile file = open_written_chunks(path, identity());
  for (const generate::WrittenChunk& chunk : load_written_chunks(file, ResumeFile::Unusable::kRefuse, kContext)) {
    STEELYARD_CHECK(std::ssize(chunk.ids) == kContext);
  }
}

void load_collection(const std::string& path) {
  static const gguf::Reader reader(golden_model());
  static const std::unique_ptr<compute::Backend> backend = compute::make_backend("cpu");
  static const model::Model model(reader, *backend);
  static schedule::LayerSweep sweep(model, kContext, [](int64_t) { return std::vector<int32_t>(kContext); });
  const auto state =
      calibrate::load_collect_state(calibrate::open_collect_state(path, identity()), sweep, kChunks, model.n_layers());
  if (!state) return;
  for (const auto& [name, entry] : state->entries) {
    STEELYARD_CHECK(std::ssize(entry.in_sum2) == entry.n_in * entry.n_expert);
    STEELYARD_CHECK(std::ssize(entry.counts) == entry.n_expert);
  }
  STEELYARD_CHECK(state->next_chunk + state->window <= kChunks);
}

// The norms of a model, tuned to a base that is never asked.
struct TuningOfNorms {
  TuningOfNorms()
      : tokens(static_cast<size_t>(kChunks * kContext)),
        chunks(tokens, kContext, 0, std::nullopt, "fuzz"),
        base(evaluate::DivergenceBase::open(std::string(STEELYARD_SOURCE_DIR) +
                                            "/tests/golden/imatrix/deepseek2/kld_base_f32.bin")),
        reader(golden_model()),
        backend(compute::make_backend("cpu")),
        tape(*backend),
        model(reader, tape, {}, &loaded),
        sweep(
            model, tape, kContext, {chunks.first_scored(), chunks.n_scored()},
            [](int64_t) { return std::vector<int32_t>(kContext); }, {.n_batch = kContext, .keep_layers = true},
            &loaded),
        parameters(reader, loaded, {.vectors = 0.2}, tape),
        tuner(chunks, *base, sweep, parameters,
              {.steps = 6, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 2, .seed = 0}) {}

  std::vector<tokenizer::TokenId> tokens;
  const tokenizer::Chunks chunks;
  const std::unique_ptr<evaluate::DivergenceBase> base;
  const gguf::Reader reader;
  const std::unique_ptr<compute::Backend> backend;
  compute::GradientTape tape;
  model::LoadedTensors loaded{.weights = {}, .vectors = {}, .writable = true};
  const model::Model model;
  schedule::GradientSweep sweep;
  tune::Parameters parameters;
  tune::Tuner tuner;
};

void load_tuning(const std::string& path) {
  static TuningOfNorms tuning;
  if (!tuning.tuner.load(tune::Tuner::open_state(path, identity()))) return;
  g_sink = tuning.tuner.best().divergence > 0;
  g_sink = tuning.tuner.finished();
}

struct Kind {
  std::string_view magic;
  void (*load)(const std::string& path);
};
constexpr std::array<Kind, 6> kKinds = {{{"", load_evaluation},
                                         {"STEELPRG", load_evaluation},
                                         {"STEELIMX", load_collection},
                                         {"STEELTUN", load_tuning},
                                         {"SYSEARC1", load_search},
                                         {"STEELTXT", load_text}}};

// Progress is locked and replaced under its name, so it needs one; in memory all the same.
struct NamedFile {
  NamedFile() : path(std::string(::mkdtemp(folder.data())) + "/progress") {}
  ~NamedFile() { std::filesystem::remove_all(folder); }
  std::string folder = "/dev/shm/steelyard-fuzz-XXXXXX", path;
};

void load_progress(std::string_view input) {
  static const NamedFile file;
  const Kind& kind = kKinds[static_cast<unsigned char>(input[0]) % kKinds.size()];
  std::string content(input.substr(1));
  if (!kind.magic.empty()) {
    content = std::string(kind.magic) + identity() + content;
    content += sha256(content);
  }
  std::ofstream(file.path, std::ios::binary) << content;
  fuzz::allow_errors([&] { kind.load(file.path); });
}

}  // namespace
}  // namespace steelyard::jobs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) steelyard::jobs::load_progress(steelyard::fuzz::as_text(data, size));
  return 0;
}
