// A small quantized model, its original and options that tune it in a second. For the tests of the job.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "error_of.h"
#include "jobs/quantize.h"
#include "jobs/tune.h"
#include "support.h"

namespace steelyard::jobs {

class TuneTest : public testing::Test {
 protected:
  TuneTest() { quantize(with_type(options_.model)); }

  QuantizeOptions with_type(const std::string& output) const {
    QuantizeOptions options{.model = llama_, .output = output, .threads = 2};
    options.source.type = "Q4_0";
    return options;
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / ".")) found.insert(entry.path().filename());
    return found;
  }
  // An error in one line, and no file more than before.
  void expect_refused(const std::function<void(TuneOptions&)>& change, const std::string& words) const {
    TuneOptions options = options_;
    change(options);
    const std::set<std::string> before = names();
    const std::string error = test::error_of([&] { tune(options); });
    EXPECT_NE(error, "") << words;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_THAT(error, testing::HasSubstr(words));
    EXPECT_EQ(names(), before) << words;
  }

  static inline const std::string glm_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  const test::TempFolder folder_;
  const std::string llama_ = test::golden("models/llama/model.gguf");
  TuneOptions options_ = {
      .model = folder_ / "q.gguf",
      .output = folder_ / "out.gguf",
      .text = {.file = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt", .ctx_size = 64, .chunks = 12},
      .teacher = llama_,
      .threads = 2,
      .tuning = {.steps = 8, .step_chunks = 2, .held_out = 3, .compare_every = 4}};
};

}  // namespace steelyard::jobs
