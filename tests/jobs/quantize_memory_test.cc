// --memory is a promise: a calibration uses no more than its plan says, whose numbers a dry run shows, and writes the
// same bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "error_of.h"
#include "jobs/quantize.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// In bytes, of this process: a line of its status.
uint64_t status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name)) return std::stoull(line.substr(name.size() + 1)) << 10;
  return 0;
}

// The most memory that the process had meanwhile, beyond what it had before.
template <class Body>
uint64_t peak_of(const Body& body) {
  std::ofstream("/proc/self/clear_refs") << 5;
  const uint64_t before = status("VmRSS:");
  body();
  return status("VmHWM:") - before;
}

// A model of one layer, narrow but for its inputs, with so many experts that all of their moments are most of what a
// calibration could hold.
void write_many_experts(const std::string& path) {
  constexpr int64_t kWidth = 512, kExperts = 64, kOut = 64;
  test::ModelCopy copy(test::golden("models/qwen3moe/model.gguf"));
  std::erase_if(copy.tensors, [](const auto& tensor) {
    return tensor.info.name.starts_with("blk.") && !tensor.info.name.starts_with("blk.0.");
  });
  copy.metadata.set_integer("qwen3moe.block_count", uint32_t{1});
  copy.metadata.set_integer("qwen3moe.embedding_length", static_cast<uint32_t>(kWidth));
  copy.metadata.set_integer("qwen3moe.expert_count", static_cast<uint32_t>(kExperts));
  copy.metadata.set_integer("qwen3moe.expert_feed_forward_length", static_cast<uint32_t>(kOut));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (auto& [info, bytes] : copy.tensors) {
    const bool experts = info.name.find("_exps.") != std::string::npos;
    const size_t wide =
        info.name.find("attn_output") != std::string::npos || info.name.find("down_exps") != std::string::npos;
    if (info.name.find("_q_norm") == std::string::npos && info.name.find("_k_norm") == std::string::npos)
      info.ne[wide] = kWidth;
    if (experts) info.ne[1 - wide] = kOut;
    if (experts) info.ne[2] = kExperts;
    if (info.name.find("gate_inp") != std::string::npos) info.ne[1] = kExperts;
    info.n_bytes = static_cast<uint64_t>(info.n_elements()) * sizeof(float);
    bytes.resize(info.n_bytes);
    const auto scale = 1.0f / std::sqrt(static_cast<float>(info.ne[0]));
    for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
      const float value = info.n_dims == 1 ? 1.0f : scale * normal(random);
      std::memcpy(bytes.data() + i, &value, sizeof(float));
    }
  }
  copy.save(path);
}

class QuantizeMemory : public testing::Test {
 protected:
  static QuantizeOptions options(const std::string& output) {
    QuantizeOptions made;
    made.model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
    made.output = output;
    made.source.type = "COPY";
    made.source.tensor_type = {"blk\\.2\\.ffn_(gate|down)_exps=Q4_0"};
    made.calibrate = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
    made.shaping.chunks = 6;
    made.threads = 2;
    return made;
  }
  static CalibrationCosts costs(QuantizeOptions options, uint64_t memory) {
    options.dry_run = true;
    options.memory = memory;
    return *quantize(options).costs;
  }

  const test::TempFolder folder_;
};

TEST_F(QuantizeMemory, IsKept) {
  write_many_experts(folder_ / "model.gguf");
  const auto of_experts = [&](const std::string& output) {
    QuantizeOptions made = options(output);
    made.model = folder_ / "model.gguf";
    made.source = {.type = "COPY", .tensor_type = {"_exps=Q4_0"}};
    made.shaping.ctx_size = 64;
    made.shaping.chunks = 16;
    return made;
  };
  const CalibrationCosts enough = costs(of_experts(""), uint64_t{64} << 30);
  EXPECT_EQ(enough.scratch, 0u);
  EXPECT_FALSE(enough.stores_rows);
  QuantizeOptions limited = of_experts(folder_ / "limited.gguf");
  limited.memory = enough.least + enough.least / 50;
  const CalibrationCosts planned = costs(limited, limited.memory);
  EXPECT_LE(planned.peak, limited.memory);
  EXPECT_LT(4 * planned.peak, enough.peak);
  EXPECT_TRUE(planned.stores_rows);
  EXPECT_GT(planned.scratch, 0u);
  EXPECT_EQ(planned.least, enough.least);

  QuantizeResult result;
  const uint64_t peak = peak_of([&] { result = quantize(limited); });
  const uint64_t other_peak = peak_of([&] { quantize(of_experts(folder_ / "all.gguf")); });
  EXPECT_TRUE(test::read_text(folder_ / "limited.gguf") == test::read_text(folder_ / "all.gguf"));
  if (std::getenv("STEELYARD_VERBOSE") != nullptr) {
    const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    std::printf("limited: %.1f MiB of %.1f planned; without a limit: %.1f of %.1f\n", mib(peak), mib(planned.peak),
                mib(other_peak), mib(enough.peak));
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(static_cast<double>(peak), 1.05 * static_cast<double>(planned.peak));
  EXPECT_LE(static_cast<double>(other_peak), 1.05 * static_cast<double>(enough.peak));
  EXPECT_LT(2 * peak, other_peak);
#endif
  ASSERT_TRUE(result.times);
  for (const double seconds :
       {result.times->forward, result.times->moments, result.times->factors, result.times->search}) {
    EXPECT_GT(seconds, 0.0);
  }
  // The times are those of the stages together.
  double forward = 0, factors = 0;
  std::set<std::string> stages;
  for (const QuantizeStage& stage : result.stages) {
    forward += stage.forward;
    factors += stage.factors;
    stages.insert(stage.stage);
  }
  EXPECT_NEAR(forward, result.times->forward, 1e-6);
  EXPECT_NEAR(factors, result.times->factors, 1e-6);
  EXPECT_THAT(stages, testing::IsSupersetOf({"FFN input", "FFN output", "advance"}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / ""), {}), 3);
}

TEST_F(QuantizeMemory, TooLittleIsRefusedWithWhatIsNeeded) {
  QuantizeOptions none = options(folder_ / "out.gguf");
  none.memory = uint64_t{16} << 20;
  for (const bool dry_run : {false, true}) {
    none.dry_run = dry_run;
    EXPECT_THAT(
        test::error_of([&] { quantize(none); }),
        testing::AllOf(HasSubstr("calibration needs 0."), HasSubstr("GiB of memory, and --memory allows 0.02 GiB")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / ""));
}

TEST_F(QuantizeMemory, ADryRunKnowsTheWork) {
  const CalibrationCosts once = costs(options(""), 0);
  QuantizeOptions longer = options("");
  longer.shaping.chunks *= 2;
  const CalibrationCosts twice = costs(longer, 0);
  EXPECT_EQ(once.n_tokens, 6 * 512);
  EXPECT_EQ(twice.n_tokens, 2 * once.n_tokens);
  EXPECT_DOUBLE_EQ(twice.forward_flop, 2 * once.forward_flop);
  EXPECT_DOUBLE_EQ(twice.moments_flop, 2 * once.moments_flop);
  EXPECT_DOUBLE_EQ(twice.factors_flop, once.factors_flop);
  EXPECT_DOUBLE_EQ(twice.feedback_flop, once.feedback_flop);
  EXPECT_EQ(twice.searched_weights, once.searched_weights);
  EXPECT_EQ(twice.hidden_states, 2 * once.hidden_states);
  for (const double seconds : {once.forward_seconds, once.moments_seconds, once.factors_seconds, once.search_seconds}) {
    EXPECT_GT(seconds, 0.0);
  }
  EXPECT_FALSE(once.on_device);
  QuantizeResult result, read;
  result.costs = once;
  result.times = QuantizeTimes{.forward = 1};
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
}

}  // namespace
}  // namespace steelyard::jobs
