// The memory plan: against what is really allocated, and against published figures for real models.
#include "schedule/memory_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "compute/cpu/cpu_backend.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "model/model.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

model::ModelConfig config_of(const gguf::Reader& reader) {
  const model::Architecture& architecture = model::find_architecture(reader.metadata());
  return architecture.read(model::ModelKeys(reader.metadata(), architecture.name));
}

TEST(MemoryPlan, CountsWhatIsAllocated) {
  for (const char* name : {"llama", "deepseek2", "qwen3next", "gpt-oss", "lfm2", "nemotron_h_moe", "kimi-linear"}) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const model::ModelConfig config = config_of(reader);
    const auto backend = compute::make_backend("cpu");
    const MemoryPlan plan = plan_memory(reader, config, {100, 3, 10, 1, {formats::Type::F16, formats::Type::F32}});
    ASSERT_EQ(plan.layers.size(), config.layers.size());
    uint64_t file = plan.prediction;
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      EXPECT_GT(plan.layers[i].weights, 0u);
      EXPECT_EQ(plan.layers[i].cache,
                3 * kv_layer_bytes(config.layers[i].attention, 100, {formats::Type::F16, formats::Type::F32}));
    }
    for (const gguf::TensorInfo& tensor : reader.tensors()) file += tensor.n_bytes;
    const DeviceMemory whole = plan.on_device(plan.all());
    EXPECT_EQ(whole.weights + 2 * plan.prediction, file) << name;  // the goldens are all F32
    EXPECT_GE(plan.activations, static_cast<uint64_t>(10 * config.n_embd) * sizeof(float));
  }
}

// Counts allocated bytes, and their maximum at any time. Weights stay in the file.
class CountingBackend : public compute::CpuBackend {
 public:
  CountingBackend() : compute::CpuBackend(compute::Precision::kExact) {}
  compute::Buffer allocate(size_t bytes) override {
    const compute::Buffer memory = compute::CpuBackend::allocate(bytes);
    live_ += bytes;
    most_ = std::max(most_, live_);
    return compute::Buffer(memory.get(), [this, memory, bytes](std::byte*) { live_ -= bytes; });
  }
  size_t most() const { return most_; }

 private:
  size_t live_ = 0, most_ = 0;
};

// A session takes, besides its weights, at most what was planned, and, apart from two blocks of scratch memory, at
// least half of it.
TEST(MemoryPlan, BoundsWhatASessionTakes) {
  const gguf::Reader reader(std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf");
  const model::ModelConfig config = config_of(reader);
  for (const int64_t n_batch : {1, 512, 1024}) {
    const int64_t n_context = 1024, n_outputs = std::min<int64_t>(n_batch, 512);
    CountingBackend backend;
    const model::Model model(reader, backend);
    Session session(model, n_context, 2);
    for (int64_t sequence = 0; sequence < 2; ++sequence) {
      const std::vector<int32_t> ids(static_cast<size_t>(n_batch), 7);
      const SequenceTokens tokens{sequence, ids};
      const compute::Matrix x = session.forward_batch(std::span(&tokens, 1));
      session.logits(x.slice(0, n_outputs));
    }
    const MemoryPlan plan = plan_memory(reader, config, {n_context, 2, n_batch, n_outputs, {}});
    const DeviceMemory whole = plan.on_device(plan.all());
    uint64_t vectors = 0;
    for (const gguf::TensorInfo& tensor : reader.tensors()) vectors += tensor.n_dims < 2 ? tensor.n_bytes : 0;
    const uint64_t planned = whole.total() - whole.weights + vectors;
    EXPECT_LE(backend.most(), planned) << n_batch;
    EXPECT_GE(backend.most() * 2 + (uint64_t{32} << 20), planned) << n_batch;
  }
}

// What prediction blocks hold is not loaded.
TEST(MemoryPlan, PredictionBlocksAreCountedApart) {
  const gguf::Reader reader(test::golden("models/glm4moe/model.gguf"));
  EXPECT_GT(plan_memory(reader, config_of(reader), {16}).prediction, 0u);
}

TEST(MemoryPlan, RefusesWithTheNumbers) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const model::ModelConfig config = config_of(reader);
  const MemoryPlan plan = plan_memory(reader, config, {4096});
  const DeviceMemory needed = plan.on_device(plan.all());
  EXPECT_NO_THROW(check_fits(needed, needed.total(), "cuda:0"));
  try {
    check_fits(needed, needed.total() - 1, "cuda:0");
    FAIL();
  } catch (const Error& error) {
    const std::string what = error.what();
    for (const char* part : {"cuda:0: ", "weights ", "cache ", "activations ", "are free"}) {
      EXPECT_NE(what.find(part), std::string::npos) << what;
    }
  }
  const auto within = [](uint64_t free) {
    return [free](const MemoryPlan& other) { return other.on_device(other.all()).total() <= free; };
  };
  const int64_t largest = largest_context(reader, config, {}, within(needed.total()));
  EXPECT_GE(largest, std::min<int64_t>(4096, config.n_context));
  EXPECT_EQ(largest_context(reader, config, {}, within(1000)), 0);
}

// The caches of real models, from their headers (figures of llama.cpp's own planner).
TEST(MemoryPlan, CachesOfRealModels) {
  struct Case {
    const char* file;
    int64_t n_context;
    formats::Type type;
    double mib;
  };
  const std::string folder = test::shared("skeletons/");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const Case& c : {Case{"glm-4.7-flash-bf16.header.gguf", 16384, formats::Type::F16, 846},
                        Case{"glm-4.7-flash-bf16.header.gguf", 32768, formats::Type::F16, 1692},
                        Case{"glm-4.7-bf16.header.gguf", 131072, formats::Type::Q8_0, 25024},
                        Case{"glm-4.7-bf16.header.gguf", 202752, formats::Type::Q4_0, 20493}}) {
    const gguf::Reader reader(folder + c.file, gguf::ReadMode::kHeader);
    const MemoryPlan plan = plan_memory(reader, config_of(reader), {c.n_context, 1, 512, 1, {c.type, c.type}});
    EXPECT_NEAR(static_cast<double>(plan.on_device(plan.all()).caches) / (1 << 20), c.mib, 0.5)
        << c.file << " at " << c.n_context;
  }
}

}  // namespace
}  // namespace steelyard::schedule
