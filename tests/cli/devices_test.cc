// Several backends on the command line: the results do not depend on which backend holds which layers, and impossible
// requests are refused. (Devices are tested on the emulator: compute/cuda/devices_test.cc.)
#include <gtest/gtest.h>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Devices : public testing::Test {
 protected:
  static CommandResult perplexity(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"perplexity", "-m", golden("models/deepseek2/model.gguf"), "-f",
                                         golden("imatrix/text.txt"), "-c", "64", "--chunks", "4"});
    return run(arguments);
  }
  static std::string generate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", "-m", golden("models/llama_tied/model.gguf"), "-p", "abc", "-n", "12",
                                         "--temp", "0", "-q"});
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
};

TEST_F(Devices, ShareLayers) {
  const CommandResult one = perplexity({});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--backend", "cpu,cpu"},
                                                    {"--backend", "cpu,cpu,cpu,cpu", "--tensor-split", "1,0,1,1"},
                                                    {"--backend", "cpu,cpu", "-ts", "1,2", "-ngl", "2"},
                                                    {"-ngl", "1"},
                                                    {"-ngl", "0"}}) {
    const CommandResult several = perplexity(arguments);
    EXPECT_EQ(several.exit_code, 0) << several.err;
    EXPECT_EQ(several.out, one.out);
  }
  EXPECT_EQ(generate({"--backend", "cpu,cpu", "-ts", "1,1"}), generate({}));
  EXPECT_EQ(perplexity({"--backend", "cpu,ref"}).exit_code, 0);
}

TEST_F(Devices, TakeLayersByTurns) {
  const auto by_layer = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--order", "layer", "-b", "64"});
    return perplexity(arguments);
  };
  const CommandResult one = by_layer({});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  for (const std::string backends : {"cpu,cpu", "cpu,cpu,cpu"}) {
    const CommandResult several = by_layer({"--backend", backends});
    EXPECT_EQ(several.exit_code, 0) << several.err;
    EXPECT_EQ(several.out, one.out);
  }
}

TEST_F(Devices, Refuse) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--backend", "cpu,gpu"},
                                                    {"--backend", "cpu,cpu", "-ts", "1"},
                                                    {"--backend", "cpu,cpu", "-ts", "1,x"},
                                                    {"-ngl", "-1"},
                                                    {"--devices", "x"},
                                                    {"--devices", "-1"},
                                                    {"--devices", "9999"}}) {
    const CommandResult result = perplexity(arguments);
    EXPECT_EQ(result.exit_code, 1) << arguments[1];
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
  }
}

}  // namespace
}  // namespace steelyard::test
