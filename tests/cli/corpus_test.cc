// The calibration corpus in the repository is what its recipe makes of its parts.
#include <gtest/gtest.h>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

TEST(Corpus, DefaultIsTheMixOfItsParts) {
  const std::string folder = std::string(STEELYARD_SOURCE_DIR) + "/calibration/";
  std::vector<std::string> command = {folder + "mix.sh"};
  for (const char* part : {"prose", "languages", "dialogue", "code", "mathematics", "tables"}) {
    command.push_back(folder + "parts/" + part + ".txt");
  }
  const CommandResult result = run_command(command);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string corpus = read_text(folder + "default.txt");
  EXPECT_GE(corpus.size(), 300'000u);
  EXPECT_TRUE(result.out == corpus) << "calibration/default.txt is not up to date: see calibration/README.md";
}

TEST(Corpus, MissingPartIsRefused) {
  const CommandResult result = run_command({std::string(STEELYARD_SOURCE_DIR) + "/calibration/mix.sh", "no-such-file"});
  EXPECT_EQ(result.exit_code, 1);
}

}  // namespace
}  // namespace steelyard::test
