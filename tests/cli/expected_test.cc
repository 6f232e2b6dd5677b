// Command lines as people write them who come from llama.cpp: positional models, numbers of types, outputs without a
// name, texts from a pipe, limits for scripts.
#include <gmock/gmock.h>

#include "cli/command.h"
#include "cli/failure.h"
#include "support.h"

namespace steelyard::test {
namespace {

using testing::HasSubstr;

class Expected : public FailureTest {
 protected:
  // What a shell prints of `command`, in which @ is the program.
  static CommandResult shell(std::string command) {
    for (size_t at; (at = command.find('@')) != std::string::npos;) command.replace(at, 1, STEELYARD_BINARY);
    return run_command({"/bin/sh", "-c", command});
  }

  std::string in() const {
    std::filesystem::copy_file(wide_, folder_ / "in.gguf", std::filesystem::copy_options::overwrite_existing);
    return folder_ / "in.gguf";
  }

  const std::string tiny_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
};

TEST_F(Expected, MisspeltWords) {
  expect_fails({"imatrix", "-m", llama_, "--chunsk", "3"}, "unknown option --chunsk; did you mean --chunks?");
  expect_fails({"quantise", llama_}, "unknown subcommand \"quantise\"; did you mean quantize?");
}

TEST_F(Expected, TheModelIsPositional) {
  const std::vector<std::string> rest = {"-p", "The king", "-n", "4", "--temp", "0", "-q"};
  std::vector<std::string> with_flag = {"run", "-m", tiny_}, without = {"run", tiny_};
  with_flag.insert(with_flag.end(), rest.begin(), rest.end());
  without.insert(without.end(), rest.begin(), rest.end());
  EXPECT_EQ(run(without).out, run(with_flag).out);
  EXPECT_EQ(run({"imatrix", llama_, "-f", text_, "-c", "64", "--chunks", "1", "-o", folder_ / "i.gguf"}).exit_code, 0);
  EXPECT_EQ(run({"perplexity", llama_, "-f", text_, "-c", "64", "--chunks", "1"}).exit_code, 0);
}

TEST_F(Expected, TheOutputIsNamedAfterModelAndType) {
  const std::string model = in();
  ASSERT_EQ(run({"quantize", model, out_, "--preset", "Q4_K_M"}).exit_code, 0);
  for (const char* type : {"Q4_K_M", "q4_k_m", "15"}) {
    const std::string named = folder_ / "in-Q4_K_M.gguf";
    ASSERT_EQ(run({"quantize", model, type, "2"}).exit_code, 0) << type;  // 2 threads
    EXPECT_TRUE(read_text(named) == read_text(out_)) << type;
    std::filesystem::remove(named);
  }
  EXPECT_EQ(run({"quantize", model, "COPY"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "in-COPY.gguf"));
  std::filesystem::rename(model, folder_ / "m-00001-of-00001.gguf");
  const CommandResult shard = run({"quantize", folder_ / "m-00001-of-00001.gguf", "Q8_0"});
  EXPECT_TRUE(std::filesystem::exists(folder_ / "m-Q8_0.gguf")) << shard.err;
  expect_fails({"quantize", llama_, "Q4_K_X"}, "give one of --plan FILE");
}

TEST_F(Expected, NumbersOfTypes) {
  const auto plan = [&](std::vector<std::string> how) {
    how.insert(how.begin(), {"plan", wide_});
    return run(how).out;
  };
  EXPECT_EQ(plan({"7"}), plan({"Q8_0"}));
  EXPECT_EQ(plan({"15"}), plan({"Q4_K_M"}));
  EXPECT_EQ(plan({"--preset", "15"}), plan({"--preset", "Q4_K_M"}));
  expect_fails({"plan", llama_, "33"}, "33");
}

TEST_F(Expected, TextsFromAPipe) {
  const std::string how = llama_ + " -c 64 --chunks 2";
  const CommandResult file = shell("@ perplexity " + how + " -f " + text_);
  ASSERT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(shell("cat " + text_ + " | @ perplexity " + how + " -f -").out, file.out);
  EXPECT_EQ(shell("cat " + text_ + " | @ perplexity " + how + " -f /dev/stdin").out, file.out);
  EXPECT_EQ(shell("printf 'The king' | @ run " + tiny_ + " -n 4 --temp 0 -q -f -").out,
            shell("@ run " + tiny_ + " -n 4 --temp 0 -q -p 'The king'").out);
  EXPECT_EQ(shell("cat " + text_ + " | @ imatrix " + how + " -f - -o " + (folder_ / "i.gguf")).exit_code, 0);
  // The hash of the text is that of what came through the pipe.
  const auto quantize = [&](const std::string& name, const std::string& text) {
    return " @ quantize " + wide_ + " " + (folder_ / name) + " Q4_0 -c 32 --chunks 2 --calibrate " + text;
  };
  EXPECT_EQ(shell(quantize("a.gguf", text_)).err, "");
  EXPECT_EQ(shell("cat " + text_ + " |" + quantize("b.gguf", "-")).err, "");
  EXPECT_TRUE(read_text(folder_ / "a.gguf") == read_text(folder_ / "b.gguf"));
  expect_fails({"run", tiny_, "-i", "-f", "-"}, "both read the standard input");
}

TEST_F(Expected, ChunksAreSkipped) {
  const auto estimates = [&](const std::string& flags) {
    const std::string out = shell("@ perplexity " + llama_ + " -c 64 -f " + text_ + " " + flags).out;
    return out.substr(out.find("[1]"));
  };
  EXPECT_EQ(estimates("--chunks 2"), estimates("--chunks 2 --chunk 0"));
  EXPECT_NE(estimates("--chunks 1"), estimates("--chunks 1 --chunk 1"));
  EXPECT_EQ(estimates("--chunks 1 --from-chunk 1"), estimates("--chunks 1 --chunk 1"));
  expect_fails({"perplexity", llama_, "-c", "64", "-f", text_, "--chunk", "100000"}, "too few");
  expect_fails({"perplexity", llama_, "-c", "64", "-f", text_, "--chunk", "-1"}, "--chunk");
}

TEST_F(Expected, LimitsOfFigures) {
  const std::string how = "@ perplexity " + llama_ + " -c 64 --chunks 2 -f " + text_;
  const CommandResult usual = shell(how), within = shell(how + " --fail-above ppl=1e9");
  EXPECT_EQ(within.exit_code, 0);
  EXPECT_EQ(within.err, "");
  const CommandResult above = shell(how + " --fail-above ppl=1.5 --json " + (folder_ / "report.json"));
  EXPECT_EQ(above.exit_code, 2);
  EXPECT_TRUE(is_one_line(above.err)) << above.err;
  EXPECT_THAT(above.err, testing::StartsWith("steelyard: ppl is "));
  EXPECT_THAT(above.err, HasSubstr(", above 1.5\n"));
  EXPECT_EQ(above.out, usual.out);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "report.json"));
  expect_fails({"perplexity", llama_, "-f", text_, "--fail-above", "kld=1"}, "--kl-divergence");
  expect_fails({"perplexity", llama_, "-f", text_, "--fail-above", "weight=1"}, "unknown figure \"weight\"");
}

TEST_F(Expected, ARandomSeedIsSaid) {
  const std::string how = "@ run " + tiny_ + " -p 'The king' -n 24 --temp 2 --seed ";
  const CommandResult one = shell(how + "-1"), other = shell(how + "-1");
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_NE(one.out, other.out);
  ASSERT_THAT(one.err, testing::StartsWith("seed "));
  EXPECT_EQ(shell(how + one.err.substr(5, one.err.find('\n') - 5)).out, one.out);
}

TEST_F(Expected, StandardOutputIsNotReplaced) {
  std::filesystem::create_symlink("/proc/self/fd/1", folder_ / "link");
  const CommandResult result = shell("@ perplexity " + llama_ + " -c 64 --chunks 2 -f " + text_ + " --json " +
                                     (folder_ / "link") + " > " + (folder_ / "captured"));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("is where standard output goes"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder_ / "link"));
}

// Tasks too, and a search, which reads its text again and again.
TEST_F(Expected, OtherTextsFromAPipe) {
  for (const std::string kind : {"hellaswag", "winogrande", "multiple-choice"}) {
    const std::string tasks = golden("choice/" + kind +
                                     (kind == "hellaswag"    ? ".txt"
                                      : kind == "winogrande" ? ".csv"
                                                             : ".bin"));
    const std::string how = "@ perplexity " + llama_ + " --" + kind + " -c 256 -f ";
    const CommandResult file = shell(how + tasks);
    ASSERT_EQ(file.exit_code, 0) << file.err;
    EXPECT_EQ(shell("cat " + tasks + " | " + how + "-").out, file.out) << kind;
  }
  const auto search = [&](const std::string& name, const std::string& text) {
    return "@ search " + llama_ + " Q4_0 --types Q4_0,Q8_0 -c 64 --chunks 12 --held-out 3 --rounds 1 --bpw 9 -o " +
           (folder_ / name) + " -f " + text;
  };
  const CommandResult file = shell(search("a.plan", text_));
  ASSERT_EQ(file.exit_code, 0) << file.err;
  const CommandResult piped = shell("cat " + text_ + " | " + search("b.plan", "-"));
  ASSERT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(read_text(folder_ / "a.plan"), read_text(folder_ / "b.plan"));
}

}  // namespace
}  // namespace steelyard::test
