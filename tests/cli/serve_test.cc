// The server as a program: signals end it when what runs has been answered, and what is wrong ends it in one line.
#include <gmock/gmock.h>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

using testing::HasSubstr;

const std::string kModel = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";

TEST(Serve, ASignalEndsItWithStatusZero) {
  const TempFolder folder;
  for (const std::string signal : {"TERM", "INT"}) {
    const std::string said = folder / signal;
    // The shell of a script has background jobs ignore SIGINT; env(1) brings it back.
    const CommandResult result = run_command({"/bin/sh", "-c",
                                              "env --default-signal=INT '" STEELYARD_BINARY "' serve -m '" + kModel +
                                                  "' --port 0 2> " + said + " & p=$!; while ! grep -q listening " +
                                                  said + "; do sleep 0.05; done; kill -" + signal + " $p; wait $p"});
    EXPECT_EQ(result.exit_code, 0) << read_text(said);
    EXPECT_THAT(read_text(said), HasSubstr("0 answers"));
  }
}

TEST(Serve, SaysWhatIsWrongBeforeItListens) {
  const auto message = [](const std::vector<std::string>& flags) {
    std::vector<std::string> command = {STEELYARD_BINARY, "serve", "-m", kModel};
    command.insert(command.end(), flags.begin(), flags.end());
    const CommandResult result = run_command(command);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
    return result.err;
  };
  EXPECT_THAT(message({"--port", "70000"}), HasSubstr("--port"));
  EXPECT_THAT(message({"--parallel", "0"}), HasSubstr("--parallel"));
  EXPECT_THAT(message({"-c", "100000000"}), HasSubstr("context"));
  EXPECT_THAT(message({"--host", "192.0.2.1", "--port", "0"}), HasSubstr("cannot listen on 192.0.2.1"));
  EXPECT_THAT(message({"--api-key-file", "/nowhere"}), HasSubstr("/nowhere"));
  EXPECT_THAT(message({"--chat-template", "/nowhere"}), HasSubstr("/nowhere"));
}

}  // namespace
}  // namespace steelyard::test
