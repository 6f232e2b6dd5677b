// The job bench on a tiny model: rows as they come, contexts that are left out, the report and the picture.
#include "jobs/bench.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class BenchJob : public testing::Test {
 protected:
  BenchJob() {
    options_.model.model = test::golden("models/llama/model.gguf");  // a context of 256
    options_.contexts = {16, 0, 8, 8};
    options_.n_gen = 2;
    options_.powercap = folder_ / "powercap";
  }

  std::string failure(const BenchOptions& options) const {
    return test::error_of([&] { bench(options); });
  }

  const test::TempFolder folder_;
  BenchOptions options_;
};

TEST_F(BenchJob, RowsAndReport) {
  BenchResult machine;
  std::vector<BenchContext> rows;
  const BenchResult result = bench(options_, [&](const Progress& progress) {
    if (progress.stage == "machine") read_json(progress.data, machine, "");
    if (progress.stage != "contexts") return;
    read_json(progress.data, rows.emplace_back(), "");
    EXPECT_EQ(progress.done, std::ssize(rows));
    EXPECT_EQ(progress.total, 3);
  });
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_EQ(result.contexts[0].context, 0);
  EXPECT_FALSE(result.contexts[0].prefill_tokens_per_second.has_value());
  EXPECT_FALSE(result.contexts[0].first_token_seconds.has_value());
  EXPECT_GT(result.contexts[2].prefill_tokens_per_second, 0);
  EXPECT_GT(result.contexts[2].decode_tokens_per_second, 0);
  EXPECT_FALSE(result.contexts[2].decode_watts.has_value());
  EXPECT_GT(result.bandwidth, 0);
  ASSERT_EQ(rows.size(), 3u);
  machine.contexts = rows;
  EXPECT_EQ(to_json(machine), to_json(result));
  const Json json = to_json(result);
  EXPECT_TRUE(json["contexts"][0]["first_token_seconds"].is_null());
  EXPECT_EQ(json["backends"], Json({"cpu"}));
  EXPECT_TRUE(plot(result).starts_with("<svg "));
}

// Devices say nothing of the host's bounds: then the report lacks them.
TEST_F(BenchJob, BoundsAreLeftOutWhereThereAreNone) {
  EXPECT_FALSE(to_json(BenchResult()).contains("bandwidth"));
  EXPECT_THROW(plot(BenchResult()), Error);
}

TEST_F(BenchJob, LeavesOutWhatHasNoRoom) {
  options_.contexts = {8, 4096};
  Json said;
  const BenchResult result = bench(options_, [&](const Progress& progress) {
    if (progress.stage == "left_out") said = progress.data;
  });
  ASSERT_EQ(result.left_out.size(), 1u);
  EXPECT_EQ(result.left_out[0].context, 4096);
  EXPECT_THAT(result.left_out[0].why, HasSubstr("exceeds the model's context of 256"));
  EXPECT_EQ(said["left_out"], to_json(result)["left_out"]);
  EXPECT_EQ(result.contexts.size(), 1u);
}

TEST_F(BenchJob, ACallbackMayEndIt) {
  int calls = 0;
  const auto interrupt = [&](const Progress&) {
    if (++calls == 2) throw std::runtime_error("enough");
  };
  EXPECT_THROW(bench(options_, interrupt), std::runtime_error);
  EXPECT_EQ(calls, 2);
}

TEST_F(BenchJob, Refuses) {
  const auto expect = [&](const char* reason, const auto& change) {
    BenchOptions options = options_;
    change(options);
    EXPECT_THAT(failure(options), HasSubstr(reason));
  };
  expect("no context length is left", [](auto& options) { options.contexts = {4096}; });
  expect("no context to measure", [](auto& options) { options.contexts = {}; });
  expect("a context of -1 tokens", [](auto& options) { options.contexts = {8, -1}; });
  expect("--batch-size: expected 1 to", [](auto& options) { options.batch_size = 0; });
  expect("--repetitions: expected 1 to 1000", [](auto& options) { options.repetitions = 0; });
  expect("nothing to measure", [](auto& options) {
    options.contexts = {0};
    options.n_gen = 0;
  });
  BenchOptions options;
  EXPECT_THROW(read_json({{"n_decode", 3}}, options, "options"), Error);
}

}  // namespace
}  // namespace steelyard::jobs
