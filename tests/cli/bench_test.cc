// steelyard bench on a tiny model: its table, JSON and picture, contexts that are left out, meters of energy.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Bench : public testing::Test {
 protected:
  CommandResult bench(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"bench", "-m", model_, "-n", "2", "--powercap", folder_ / "powercap"});
    return run(arguments);
  }
  nlohmann::json report() const { return nlohmann::json::parse(read_text(folder_ / "bench.json")); }

  const TempFolder folder_;
  const std::string model_ = golden("models/llama/model.gguf");  // a context of 256
};

TEST_F(Bench, MeasuresEveryContext) {
  const CommandResult result =
      bench({"--contexts", "16,0,8,8", "--json", folder_ / "bench.json", "--svg", folder_ / "bench.svg"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = this->report();
  ASSERT_EQ(report["contexts"].size(), 3u);
  EXPECT_EQ(report["contexts"][0]["context"], 0);
  EXPECT_TRUE(report["contexts"][0]["prefill_tokens_per_second"].is_null());
  EXPECT_EQ(report["contexts"][2]["context"], 16);
  for (const char* figure : {"first_token_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"}) {
    EXPECT_GT(report["contexts"][2][figure].get<double>(), 0) << figure;
  }
  for (const char* figure : {"prefill_watts", "decode_watts", "decode_tokens_per_kwh"}) {
    EXPECT_TRUE(report["contexts"][2][figure].is_null()) << figure;
  }
  EXPECT_EQ(report["left_out"].size(), 0u);
  EXPECT_NE(result.out.find("no energy counter: processor: "), std::string::npos) << result.out;
  EXPECT_TRUE(read_text(folder_ / "bench.svg").starts_with("<svg "));
}

TEST_F(Bench, LeavesOutWhatHasNoRoom) {
  const CommandResult result = bench({"--contexts", "8,4096,131072", "--json", folder_ / "bench.json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("4K is left out: with 2 tokens after it, it exceeds the model's context of 256"),
            std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("128K is left out: "), std::string::npos);
  EXPECT_EQ(report()["left_out"].size(), 2u);
  EXPECT_EQ(report()["contexts"].size(), 1u);
}

TEST_F(Bench, CountsEnergy) {
  const std::string zone = folder_ / "powercap/intel-rapl:0";
  std::filesystem::create_directories(zone);
  std::ofstream(zone + "/name") << "package-0\n";
  std::ofstream(zone + "/max_energy_range_uj") << "1000\n";
  std::ofstream(zone + "/energy_uj") << "7\n";
  const CommandResult result = bench({"--contexts", "8", "--json", folder_ / "bench.json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("energy counter: package-0\n"), std::string::npos) << result.out;
  EXPECT_EQ(report()["meters"][0], "package-0");
  EXPECT_EQ(report()["contexts"][0]["decode_watts"], 0.0);  // a counter that stands still
  EXPECT_TRUE(report()["contexts"][0]["decode_tokens_per_kwh"].is_null());
}

TEST_F(Bench, Refuses) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--contexts", "4096"},
                                                    {"--contexts", "-1"},
                                                    {"--contexts", "x"},
                                                    {"--contexts", "8", "-b", "0"},
                                                    {"--contexts", "0", "-n", "0"},
                                                    {"--contexts", "8", "--json", "/nonexistent/file"},
                                                    {"--contexts", "8", "--svg", model_}}) {
    const CommandResult result = bench(arguments);
    EXPECT_EQ(result.exit_code, 1) << arguments[1];
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
  }
}

}  // namespace
}  // namespace steelyard::test
