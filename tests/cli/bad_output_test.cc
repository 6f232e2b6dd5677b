// Outputs that cannot be written: full disks, wrong places, the command's own inputs. Existing files stay unchanged.
#include <unistd.h>

#include "cli/failure.h"

namespace steelyard::test {
namespace {

using Words = std::vector<std::string>;

class BadOutput : public FailureTest {
 protected:
  // A command for each kind of output, writing to `path`.
  std::vector<Words> writers(const std::string& path) const {
    const std::string base = golden("imatrix/deepseek2/kld_base_f32.bin"), ids = golden("models/llama/tokens.json");
    return {{"quantize", llama_, path, "Q8_0"},
            {"quantize", llama_, path, "Q4_K"},  // warns of fallbacks
            {"imatrix", "-m", llama_, "-f", text_, "-c", "64", "--chunks", "2", "-o", path},
            {"write", "-m", llama_, "-c", "64", "--chunks", "2", "-o", path},
            {"imatrix", "-m", llama_, "-f", "self", "-c", "64", "--chunks", "2", "--save-text", path, "-o", kept_},
            {"tune", llama_, "--teacher", llama_, "-f", text_, "-c", "64", "--chunks", "2", "--steps", "1", "-o", path},
            {"imatrix", "--in-file", golden("imatrix/deepseek2/imatrix.dat"), "-o", path},
            {"perplexity", "-m", llama_, "-f", text_, "-c", "64", "--chunks", "2", "--kl-divergence-base", path},
            {"perplexity", "-m", long_path_, "-f", text_, "-c", "64", "--chunks", "2", "--json", path},
            {"perplexity", "-m", long_path_, "--tokens", ids_, "--json", path},
            {"perplexity", "-m", llama_, "--tokens", ids_, "--dump-logits", path}};
  }

  const std::string kept_ = folder_ / "kept.gguf";
  const std::string ids_ = file("ids.json", "[1, 2, 3]");
  // Reports name the model, and so no output fits on a full disk.
  const std::string long_path_ = std::string(kFull, '/') + llama_;
  // Bytes of a file on a full disk: as much as clang's OpenMP writes to shared memory when it starts.
  static constexpr rlim_t kFull = 1024;
};

TEST_F(BadOutput, FullDisk) {
  CommandLimits limits;
  limits.file_size = kFull;
  for (const auto& command : writers(out_)) expect_fails(command, out_, limits);
  for (const auto& command : writers(folder_ / "out.dat")) expect_fails(command, folder_ / "out.dat", limits);
}

// The disk is full late: the header and some tensors fit.
TEST_F(BadOutput, DiskFullInTheMiddle) {
  CommandLimits limits;
  limits.file_size = 20000;
  expect_fails({"quantize", llama_, out_, "Q8_0"}, out_, limits);
  expect_fails({"perplexity", "-m", llama_, "-f", text_, "-c", "64", "--kl-divergence-base", out_}, out_, limits);
}

TEST_F(BadOutput, AnOlderFileStays) {
  CommandLimits limits;
  limits.file_size = kFull;
  file("out.gguf", "precious");
  for (const auto& command : writers(out_)) expect_fails(command, out_, limits);
}

TEST_F(BadOutput, MissingFolder) {
  for (const auto& command : writers(folder_ / "absent/out")) expect_fails(command, "absent/out: cannot write here");
}

TEST_F(BadOutput, Folder) {
  std::filesystem::create_directory(out_);
  for (const auto& command : writers(out_)) expect_fails(command, "exists and is not a regular file");
  for (const auto& command : writers("/dev/null")) expect_fails(command, "exists and is not a regular file");
  expect_fails({"quantize", llama_, "", "Q8_0"}, "no output file given");
}

TEST_F(BadOutput, TheInputItself) {
  const std::string model = file("model.gguf", read_text(llama_));
  const std::string text = file("text.txt", read_text(text_));
  std::filesystem::create_symlink(model, folder_ / "soft");
  std::filesystem::create_hard_link(model, folder_ / "hard");
  for (const std::string& path : {model, folder_ / "soft", folder_ / "hard", folder_ / "./model.gguf"}) {
    expect_fails({"quantize", model, path, "Q8_0"}, "is also the source");
    expect_fails({"imatrix", "-m", model, "-f", text, "-c", "64", "-o", path}, "is also the input");
    expect_fails({"write", "-m", model, "-c", "64", "-o", path}, "is also the input");
    expect_fails({"imatrix", "-m", model, "-f", "self", "-c", "64", "-o", out_, "--save-text", path},
                 "is also the input");
    expect_fails({"quantize", model, out_, "Q8_0", "--calibrate", "self", "-c", "64", "--save-text", path},
                 "is also the input");
    expect_fails({"tune", model, "--teacher", llama_, "-f", text, "-c", "64", "-o", path}, "is also the input");
    expect_fails({"tune", llama_, "--teacher", model, "-f", text, "-c", "64", "-o", path}, "is also the input");
    expect_fails({"quantize", model, path, "Q8_0", "--calibrate", text, "-c", "64", "--tune"}, "is also the input");
    for (const char* flag : {"--json", "--kl-divergence-base"}) {
      expect_fails({"perplexity", "-m", model, "-f", text, "-c", "64", flag, path}, "is also the input");
    }
    expect_fails({"perplexity", "-m", model, "--tokens", ids_, "--dump-logits", path}, "is also the input");
  }
  expect_fails({"imatrix", "-m", model, "-f", text, "-c", "64", "-o", text}, "is also the input");
  expect_fails({"imatrix", "-m", model, "-f", "self+" + text, "-c", "64", "-o", text}, "is also the input");
  expect_fails({"perplexity", "-m", model, "--tokens", ids_, "--json", ids_}, "is also the input");
  expect_fails({"quantize", model, text, "Q8_0", "--calibrate", text, "-c", "64", "--tune"}, "is also the input");
  // Progress is removed at the end, and would take the result with it, which is not there yet.
  const Words progress = {"-f", text, "-c", "64", "--resume"};
  for (Words words :
       {Words{"tune", model, "--teacher", llama_, "-o", out_}, Words{"imatrix", "-m", model, "-o", out_}}) {
    words.insert(words.end(), progress.begin(), progress.end());
    for (const std::string& path : {out_, folder_ / "./out.gguf"}) {
      words.push_back(path);
      expect_fails(words, "is also the output");
      words.pop_back();
    }
  }
}

TEST_F(BadOutput, Stdout) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const auto into_full = [&](const std::string& arguments) {
    expect_failure({"/bin/sh", "-c", std::string(STEELYARD_BINARY) + " " + arguments + " > /dev/full"}, "");
  };
  into_full("inspect " + llama_);
  into_full("inspect --json " + llama_);
  into_full("plan --preset Q8_0 --json " + llama_);
}

}  // namespace
}  // namespace steelyard::test
