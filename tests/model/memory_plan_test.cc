// The memory plan: against what is really allocated, and against published figures for real models.
#include "model/memory_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/architecture.h"
#include "model/model.h"
#include "support.h"

namespace steelyard {
namespace {

ModelConfig config_of(const gguf::Reader& reader) {
  const Architecture& architecture = find_architecture(reader.metadata());
  return architecture.read(ModelKeys(reader.metadata(), architecture.name));
}

TEST(MemoryPlan, CountsWhatIsAllocated) {
  for (const char* name : {"llama", "deepseek2", "qwen3next", "gpt-oss"}) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const ModelConfig config = config_of(reader);
    const auto backend = make_backend("cpu");
    const MemoryPlan plan = plan_memory(reader, config, {100, 3, 10, 1, {Type::F16, Type::F32}});
    ASSERT_EQ(plan.layers.size(), config.layers.size());
    uint64_t file = plan.prediction;
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      EXPECT_GT(plan.layers[i].weights, 0u);
      EXPECT_EQ(plan.layers[i].cache, 3 * kv_layer_bytes(config.layers[i].attention, 100, {Type::F16, Type::F32}));
    }
    for (const gguf::TensorInfo& tensor : reader.tensors()) file += tensor.n_bytes;
    EXPECT_EQ(plan.weights() + 2 * plan.prediction, file) << name;  // the goldens are all F32
    EXPECT_GE(plan.activations, static_cast<uint64_t>(10 * config.n_embd) * sizeof(float));
  }
}

// What prediction blocks hold is not loaded.
TEST(MemoryPlan, PredictionBlocksAreCountedApart) {
  const gguf::Reader reader(test::golden("models/glm4moe/model.gguf"));
  EXPECT_GT(plan_memory(reader, config_of(reader), {16}).prediction, 0u);
}

TEST(MemoryPlan, RefusesWithTheNumbers) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const ModelConfig config = config_of(reader);
  const MemoryPlan plan = plan_memory(reader, config, {4096});
  EXPECT_NO_THROW(check_fits(plan, plan.total(), "cuda:0"));
  try {
    check_fits(plan, plan.total() - 1, "cuda:0");
    FAIL();
  } catch (const Error& error) {
    const std::string what = error.what();
    for (const char* part : {"cuda:0: ", "weights ", "cache ", "activations ", "are free"}) {
      EXPECT_NE(what.find(part), std::string::npos) << what;
    }
  }
  const int64_t largest = largest_context(reader, config, {}, plan.total());
  EXPECT_GE(largest, std::min<int64_t>(4096, config.n_context));
  EXPECT_EQ(largest_context(reader, config, {}, 1000), 0);
}

// The caches of real models, from their headers (figures of llama.cpp's own planner).
TEST(MemoryPlan, CachesOfRealModels) {
  struct Case {
    const char* file;
    int64_t n_context;
    Type type;
    double mib;
  };
  const std::string folder = test::shared("skeletons/");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const Case& c : {Case{"glm-4.7-flash-bf16.header.gguf", 16384, Type::F16, 846},
                        Case{"glm-4.7-flash-bf16.header.gguf", 32768, Type::F16, 1692},
                        Case{"glm-4.7-bf16.header.gguf", 131072, Type::Q8_0, 25024},
                        Case{"glm-4.7-bf16.header.gguf", 202752, Type::Q4_0, 20493}}) {
    const gguf::Reader reader(folder + c.file, gguf::Need::kHeader);
    const MemoryPlan plan = plan_memory(reader, config_of(reader), {c.n_context, 1, 512, 1, {c.type, c.type}});
    EXPECT_NEAR(static_cast<double>(plan.caches()) / (1 << 20), c.mib, 0.5) << c.file << " at " << c.n_context;
  }
}

}  // namespace
}  // namespace steelyard
