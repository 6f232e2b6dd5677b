// Command lines that make no sense.
#include <algorithm>

#include "cli/failure.h"
#include "simd/target.h"

namespace steelyard::test {
namespace {

class BadCommandLine : public FailureTest {
 protected:
  // `command` fails under STEELYARD_ISA=isa.
  void expect_fails_on(const std::string& isa, std::vector<std::string> command, const std::string& reason) {
    command.insert(command.begin(), {"/usr/bin/env", "STEELYARD_ISA=" + isa, STEELYARD_BINARY});
    expect_failure(command, reason);
  }
};

TEST_F(BadCommandLine, Subcommands) {
  expect_fails({}, "subcommand");
  expect_fails({"weigh"}, "");
  expect_fails({"inspect", llama_, "plan", llama_}, "");
}

TEST_F(BadCommandLine, MissingArguments) {
  for (const char* subcommand : {"imatrix", "plan", "quantize", "perplexity", "run", "write", "inspect"}) {
    expect_fails({subcommand}, "required");
  }
  expect_fails({"quantize", llama_}, "no output file given");
  expect_fails({"perplexity", "-m"}, "--model");
  expect_fails({"run", "-m", llama_}, "--prompt");
  expect_fails({"imatrix", "-m", llama_, "-f", text_}, "--output-file");
  expect_fails({"imatrix", "-o", out_}, "give -m MODEL -f TEXT");
  expect_fails({"write", "-m", llama_}, "--output-file is required");
}

TEST_F(BadCommandLine, UnknownFlags) {
  expect_fails({"--frobnicate"}, "");
  for (const char* subcommand : {"plan", "inspect"}) expect_fails({subcommand, llama_, "--frobnicate"}, "--frobnicate");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--frobnicate"}, "--frobnicate");
  expect_fails({"quantize", llama_, out_, "Q8_0", "one too many"}, "one too many");
  expect_fails({"run", "-m", llama_, "-p", "a", "--frobnicate"}, "--frobnicate");
  expect_fails({"imatrix", "-m", llama_, "-f", text_, "-o", out_, "--frobnicate"}, "--frobnicate");
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "--frobnicate"}, "--frobnicate");
  expect_fails({"write", "-m", llama_, "-o", out_, "--frobnicate"}, "--frobnicate");
}

TEST_F(BadCommandLine, Threads) {
  for (const char* threads : {"-1", "100000", "99999999999999999999", "all"}) {
    expect_fails({"quantize", llama_, out_, "Q8_0", "-t", threads}, "--threads");
    expect_fails({"run", "-m", llama_, "-p", "a", "-t", threads}, "--threads");
    expect_fails({"write", "-m", llama_, "-o", out_, "-t", threads}, "--threads");
  }
}

// Of a text that the model writes; whoever takes one says the same.
TEST_F(BadCommandLine, OwnText) {
  const std::vector<std::vector<std::string>> commands = {
      {"write", "-m", llama_, "-o", out_, "-c", "32"},
      {"imatrix", "-m", llama_, "-f", "self", "-o", out_, "-c", "32"},
      {"quantize", llama_, out_, "Q8_0", "--calibrate", "self", "-c", "32"}};
  for (const std::vector<std::string>& command : commands) {
    const auto refused = [&](const std::vector<std::string>& flags, const std::string& reason) {
      std::vector<std::string> words = command;
      words.insert(words.end(), flags.begin(), flags.end());
      expect_fails(words, reason);
    };
    refused({"--seed", "-2"}, "--seed must be at least 0");
    refused({"--seed", "1.5"}, "--seed");
    refused({"--temp", "-1"}, "temperature");
    refused({"--temp", "hot"}, "--temp");
    refused({"--top-p", "1.5"}, "top-p");
    refused({"--chats", "1.5"}, "--chats is 1.5");
    refused({"--chats", "nan"}, "--chats is nan");
    refused({"--chats", "0.6", "--excerpts", "0.6", "--excerpts-of", text_}, "whose sum is at most 1");
    refused({"--excerpts", "0.1", "--excerpts-of", folder_ / "absent"}, "absent: cannot open");
  }
  for (const char* n_ctx : {"3", "0", "-1", "257", "9223372036854775807"}) {
    expect_fails({"write", "-m", llama_, "-o", out_, "-c", n_ctx}, "a text has 4 to 256 tokens, the model's context");
    expect_fails({"imatrix", "-m", llama_, "-f", "self", "-o", out_, "-c", n_ctx}, "a text has ");
  }
  expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", "self", "-c", "257"}, "a text has 4 to 256 tokens");
  for (const char* chunks : {"0", "-1"}) {
    expect_fails({"write", "-m", llama_, "-o", out_, "--chunks", chunks}, "--chunks");
    expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", "self", "--chunks", chunks}, "--chunks");
  }
  expect_fails({"write", "-m", llama_, "-o", out_, "--parallel", "-1"}, "--parallel");
  for (const char* text : {"self:", "self:0", "self:-5", "self:many", "self:9223372036854775807", "self:5x+"}) {
    expect_fails({"imatrix", "-m", llama_, "-f", text, "-o", out_, "-c", "32"}, "self");
    expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", text, "-c", "32"}, "self");
  }
  expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", "self+"}, "expected the name of a file after the +");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", "self+" + text_, "--own-share", "2"}, "--own-share");
  expect_fails({"imatrix", "-m", llama_, "-f", "self+" + text_, "-c", "32", "-o", out_, "--own-share", "0"},
               "nothing is left for the model to write");
  // What says how a model writes, where none does.
  const std::vector<std::vector<std::string>> flags = {
      {"--seed", "1"}, {"--temp", "0.5"}, {"--writer", llama_}, {"--save-text", folder_ / "own"}, {"--chats", "0"}};
  for (const std::vector<std::string>& flag : flags) {
    expect_fails({"imatrix", "-m", llama_, "-f", text_, "-c", "32", "-o", out_, flag[0], flag[1]},
                 "a text called self");
    expect_fails({"quantize", llama_, out_, "Q8_0", "--calibrate", text_, "-c", "32", flag[0], flag[1]},
                 "a text called self");
  }
  expect_fails({"imatrix", "-m", llama_, "-f", "self", "-c", "32", "-o", out_, "--writer",
                std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf"},
               "has another vocabulary than the model that it writes for");
  expect_fails({"quantize", "--from", out_, llama_, out_, "--seed", "1"}, "--from excludes --seed");
}

TEST_F(BadCommandLine, Backend) {
  expect_fails({"run", "-m", llama_, "-p", "a", "--backend", "abacus"},
               "unknown backend \"abacus\" (known: cpu, cuda, cuda:N, ref)");
  expect_fails({"imatrix", "-m", llama_, "-f", text_, "-c", "64", "-o", out_, "--backend", ""}, "unknown backend");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--backend", "ref"},
               "no encoders on \"ref\" (known: cpu, cuda, cuda:N)");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--backend", "cuda:99"}, "cuda:99");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--backend", "ref", "--calibrate", text_}, "no encoders on \"ref\"");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--backend", "cuda:99", "--calibrate", text_}, "cuda:99");
}

TEST_F(BadCommandLine, InstructionSet) {
  expect_fails_on("abacus", {"run", "-m", llama_, "-p", "a"}, "unknown instruction set \"abacus\"");
  expect_fails_on("", {"perplexity", "-m", llama_, "-f", text_, "-c", "64"}, "unknown instruction set");
  expect_fails_on("AVX2\n", {"imatrix", "-m", llama_, "-f", text_, "-c", "64", "-o", out_}, "unknown instruction set");
  for (int t = 0; t < simd::kTargetCount; ++t) {
    const auto target = static_cast<simd::Target>(t);
    if (std::ranges::find(simd::supported_targets(), target) != simd::supported_targets().end()) continue;
    const std::string name(simd::target_name(target));
    expect_fails_on(name, {"run", "-m", llama_, "-p", "a"}, "this processor has no " + name);
  }
}

TEST_F(BadCommandLine, PresetFolder) {
  expect_failure(
      {"/usr/bin/env", "STEELYARD_PLANS=" + folder_ / "absent", STEELYARD_BINARY, "plan", llama_, "--preset", "Q8_0"},
      "no presets found");
}

}  // namespace
}  // namespace steelyard::test
