// steelyard run: sampling flags, stop strings, dialogue, and what is refused.
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/failure.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Run : public FailureTest {
 protected:
  static CommandResult run(std::vector<std::string> arguments, const CommandLimits& limits = {}) {
    arguments.insert(arguments.begin(), STEELYARD_BINARY);
    return run_command(arguments, limits);
  }

  const std::string model_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";

  // What the model says after `prompt`, without the prompt and the newline at the end.
  std::string continued(const std::string& prompt, std::vector<std::string> flags, CommandResult* result = nullptr) {
    std::vector<std::string> command = {"run", "-m", model_, "-p", prompt};
    command.insert(command.end(), flags.begin(), flags.end());
    const CommandResult ran = run(command);
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_TRUE(ran.out.starts_with(prompt) && ran.out.ends_with('\n')) << ran.out;
    if (result) *result = ran;
    return ran.out.substr(prompt.size(), ran.out.size() - prompt.size() - 1);
  }

  CommandResult with_input(const std::string& input, const std::vector<std::string>& command) {
    CommandLimits limits;
    limits.input = file("input", input);
    return run(command, limits);
  }
};

// What a command writes to a terminal.
std::string on_terminal(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), STEELYARD_BINARY);
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  EXPECT_GE(child, 0);
  if (child == 0) {
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    ::execv(raw[0], raw.data());
    ::_exit(127);
  }
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(terminal, buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << text;
  ::close(terminal);
  return text;
}

// Neither a prompt nor a model sends control sequences to a terminal, unless --raw.
TEST_F(Run, ATerminalIsNotControlled) {
  const std::vector<std::string> command = {"run", "-m", model_, "-p",     "\x1b]0;pwned\x07",
                                            "-n",  "2",  "-q",   "--temp", "0"};
  EXPECT_EQ(on_terminal(command).find('\x1b'), std::string::npos);
  std::vector<std::string> raw = command;
  raw.push_back("--raw");
  EXPECT_NE(on_terminal(raw).find("\x1b]0;pwned"), std::string::npos);
}

TEST_F(Run, GreedyIsTheSameOnAnyNumberOfThreads) {
  const std::string text = continued("The king", {"-n", "12", "--temp", "0"});
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(continued("The king", {"-n", "12", "--temp", "0", "-t", "1"}), text);
  EXPECT_EQ(continued("The king", {"-n", "12", "--temp", "0", "--seed", "9"}), text);
  EXPECT_EQ(continued("The king", {"-n", "12", "--top-k", "1", "--seed", "9"}), text);
  EXPECT_EQ(continued("The king", {"-n", "12", "--temp", "0", "-b", "1"}), text);
}

TEST_F(Run, SeedDecides) {
  const std::string text = continued("The king", {"-n", "12", "--temp", "1", "--seed", "7"});
  EXPECT_EQ(continued("The king", {"-n", "12", "--temp", "1", "--seed", "7"}), text);
  EXPECT_NE(continued("The king", {"-n", "12", "--temp", "1", "--seed", "8"}), text);
}

TEST_F(Run, PenaltyChangesWhatIsSaid) {
  const std::string text = continued("The king", {"-n", "30", "--temp", "0"});
  EXPECT_NE(continued("The king", {"-n", "30", "--temp", "0", "--repeat-penalty", "2"}), text);
  EXPECT_EQ(continued("The king", {"-n", "30", "--temp", "0", "--repeat-penalty", "2", "--repeat-last-n", "0"}), text);
}

// A stop string inside the text, whose ends are not those of tokens.
TEST_F(Run, StopString) {
  const std::string text = continued("The king", {"-n", "20", "--temp", "0"});
  ASSERT_GT(text.size(), 12u);
  for (size_t begin = 1; begin < 8; ++begin) {
    const std::string stop = text.substr(begin, 4);
    const std::string before = text.substr(0, text.find(stop));
    EXPECT_EQ(continued("The king", {"-n", "20", "--temp", "0", "--stop", stop, "--stop", "never so"}), before) << stop;
  }
  EXPECT_EQ(continued("The king", {"-n", "20", "--temp", "0", "--stop", text.substr(3) + "\x01"}), text);
}

TEST_F(Run, PromptFile) {
  const std::string prompt = file("prompt", "The king\n");
  const CommandResult result = run({"run", "-m", model_, "-f", prompt, "-n", "5", "--temp", "0", "--quiet"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out, "The king" + continued("The king", {"-n", "5", "--temp", "0"}) + "\n");
}

TEST_F(Run, SpecialTokensOnRequest) {
  CommandResult result;
  continued("<|endoftext|>", {"-n", "2"}, &result);
  EXPECT_NE(result.err.find("prompt: 1 tokens"), std::string::npos) << result.err;
  continued("<|endoftext|>", {"-n", "2", "--no-special"}, &result);
  EXPECT_EQ(result.err.find("prompt: 1 tokens"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("generation: "), std::string::npos) << result.err;
}

// The context bounds what -n may ask for.
TEST_F(Run, ContextFull) {
  CommandResult result;
  continued("The king", {"-n", "9223372036854775807", "-c", "8", "--temp", "0"}, &result);
  EXPECT_NE(result.err.find("the context of 8 tokens is full"), std::string::npos) << result.err;
}

TEST_F(Run, Dialogue) {
  const std::vector<std::string> command = {"run", "-m", model_, "-i", "-n", "6", "--temp", "0", "-q"};
  const CommandResult one = with_input("The king\n", command);
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.out, continued("The king\n", {"-n", "6", "--temp", "0"}) + "\n");
  const CommandResult two = with_input("The king\nThe queen\n", command);
  EXPECT_TRUE(two.out.starts_with(one.out)) << two.out;
  // The second answer knows what was said before.
  EXPECT_NE(two.out.substr(one.out.size()), with_input("The queen\n", command).out);
  EXPECT_EQ(with_input("", command).out, "");
  EXPECT_EQ(with_input("", command).exit_code, 0);

  std::vector<std::string> small = command;
  small.insert(small.end(), {"-c", "20"});
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += "The king\n";
  const CommandResult full = with_input(lines, small);
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_NE(full.err.find("the context of 20 tokens is full"), std::string::npos) << full.err;
  EXPECT_TRUE(is_one_line(full.err)) << full.err;
}

TEST_F(Run, BadFlags) {
  const auto refused = [&](std::vector<std::string> flags, const std::string& reason) {
    std::vector<std::string> command = {"run", "-m", model_, "-p", "a"};
    command.insert(command.end(), flags.begin(), flags.end());
    expect_fails(command, reason);
  };
  refused({"--temp", "-1"}, "temperature is -1, expected 0 or more");
  refused({"--temp", "warm"}, "--temp");
  refused({"--top-k", "-3"}, "top-k is -3");
  refused({"--top-p", "1.01"}, "top-p is 1.01, expected 0 to 1");
  refused({"--min-p", "-0.5"}, "min-p is -0.5");
  refused({"--repeat-penalty", "0"}, "repetition penalty is 0, expected more than 0");
  refused({"--repeat-last-n", "-2"}, "number of tokens to penalise is -2");
  refused({"--seed", "-2"}, "--seed");
  refused({"--stop", ""}, "stop");
  refused({"-b", "0"}, "-b must be at least 1");
  refused({"-c", "-1"}, "-c must be at least 1");
  refused({"-c", "1000000000"}, "exceeds the model's");
  refused({"-c", "1"}, "fills the context of 1");
  refused({"-f", model_}, "--prompt");
  expect_fails({"run", "-m", model_, "-f", folder_ / "absent"}, "absent");
}

}  // namespace
}  // namespace steelyard::test
