// --memory is a promise: a calibration uses no more than its plan says, whose numbers a dry run shows, and writes the
// same bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "error_of.h"
#include "jobs/quantize.h"
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

class QuantizeMemory : public testing::Test {
 protected:
  static QuantizeOptions options(const std::string& output) {
    QuantizeOptions options{.model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf",
                            .output = output};
    options.source = {.type = "COPY", .tensor_type = {"blk\\.2\\.ffn_(gate|down)_exps=Q4_0"}};
    options.calibrate = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
    options.shaping.chunks = 6;
    options.threads = 2;
    return options;
  }
  static CalibrationCosts costs(QuantizeOptions options, uint64_t memory) {
    options.dry_run = true;
    options.memory = memory;
    return *quantize(options).costs;
  }

  const test::TempFolder folder_;
};

TEST_F(QuantizeMemory, IsKept) {
  const CalibrationCosts enough = costs(options(""), uint64_t{64} << 30);
  EXPECT_EQ(enough.scratch, 0u);
  EXPECT_FALSE(enough.stores_rows);
  EXPECT_LT(enough.least, enough.peak);
  QuantizeOptions limited = options(folder_ / "limited.gguf");
  limited.memory = enough.least + enough.least / 50;
  const CalibrationCosts planned = costs(limited, limited.memory);
  EXPECT_LE(planned.peak, limited.memory);
  EXPECT_GT(planned.scratch, 0u);
  EXPECT_EQ(planned.least, enough.least);

  QuantizeResult result;
  const uint64_t peak = peak_of([&] { result = quantize(limited); });
  const uint64_t other_peak = peak_of([&] { quantize(options(folder_ / "all.gguf")); });
  EXPECT_TRUE(test::read_text(folder_ / "limited.gguf") == test::read_text(folder_ / "all.gguf"));
  if (std::getenv("STEELYARD_VERBOSE") != nullptr) {
    std::printf("limited: %.1f MiB of %.1f planned; without a limit: %.1f of %.1f\n",
                static_cast<double>(peak) / (1 << 20), static_cast<double>(planned.peak) / (1 << 20),
                static_cast<double>(other_peak) / (1 << 20), static_cast<double>(enough.peak) / (1 << 20));
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(static_cast<double>(peak), 1.05 * static_cast<double>(planned.peak));
#endif
  ASSERT_TRUE(result.times);
  for (const double seconds :
       {result.times->forward, result.times->moments, result.times->factors, result.times->search}) {
    EXPECT_GT(seconds, 0.0);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / ""), {}), 2);
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
