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
  for (const char* subcommand : {"imatrix", "plan", "quantize", "perplexity", "run", "inspect"}) {
    expect_fails({subcommand}, "required");
  }
  expect_fails({"quantize", llama_}, "no output file given");
  expect_fails({"perplexity", "-m"}, "--model");
  expect_fails({"run", "-m", llama_}, "--prompt");
  expect_fails({"imatrix", "-m", llama_, "-f", text_}, "--output-file");
  expect_fails({"imatrix", "-o", out_}, "give -m MODEL -f TEXT");
}

TEST_F(BadCommandLine, UnknownFlags) {
  expect_fails({"--frobnicate"}, "");
  for (const char* subcommand : {"plan", "inspect"}) expect_fails({subcommand, llama_, "--frobnicate"}, "--frobnicate");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--frobnicate"}, "--frobnicate");
  expect_fails({"quantize", llama_, out_, "Q8_0", "one too many"}, "one too many");
  expect_fails({"run", "-m", llama_, "-p", "a", "--frobnicate"}, "--frobnicate");
  expect_fails({"imatrix", "-m", llama_, "-f", text_, "-o", out_, "--frobnicate"}, "--frobnicate");
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "--frobnicate"}, "--frobnicate");
}

TEST_F(BadCommandLine, Threads) {
  for (const char* threads : {"-1", "100000", "99999999999999999999", "all"}) {
    expect_fails({"quantize", llama_, out_, "Q8_0", "-t", threads}, "--threads");
    expect_fails({"run", "-m", llama_, "-p", "a", "-t", threads}, "--threads");
  }
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
