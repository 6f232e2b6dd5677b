// The same bytes for any number of threads and any instruction set, and the same as ever: the SHA-256 of a reference
// quantization is a golden.
#include <fmt/format.h>

#include "base/sha256.h"
#include "cli/failure.h"
#include "gguf/reader.h"
#include "simd/target.h"

namespace steelyard::test {
namespace {

class Determinism : public FailureTest {
 protected:
  /// Quantizes the reference model in every type, and returns the SHA-256 of the file.
  std::string quantize(const std::string& isa, int threads, const std::string& effort = "normal") {
    const std::string plan = file("reference.plan", kPlan);
    const std::string imatrix = golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");
    if (isa.empty()) {
      ::unsetenv("STEELYARD_ISA");
    } else {
      ::setenv("STEELYARD_ISA", isa.c_str(), 1);
    }
    const CommandResult result = run({"quantize", wide_, out_, "--plan", plan, "--imatrix", imatrix, "--effort", effort,
                                      "-t", std::to_string(threads), "--restart"});
    ::unsetenv("STEELYARD_ISA");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    // The instruction set was really forced: the program says what it encodes with.
    if (!isa.empty()) {
      EXPECT_NE(result.out.find(fmt::format("encoding with {}, {} thread", isa, threads)), std::string::npos);
    }
    return sha256_of_file(out_);
  }

  /// Of the tensors' bytes alone: metadata holds the version.
  std::string data_sha256() const {
    const gguf::Reader file(out_);
    Sha256 hash;
    for (const gguf::TensorInfo& tensor : file.tensors()) hash.update(file.bytes(tensor));
    return hash.hex();
  }

  // A type for every tensor that can take it; formats_test has those that find no place here.
  static constexpr const char* kPlan =
      "token_embd = TQ1_0\n^output\\.weight = TQ2_0\nblk.{0}.attn_q_a = Q2_K\nblk.{1}.attn_q_a = Q3_K\n"
      "blk.{0}.attn_kv_a = Q4_K\nblk.{1}.attn_kv_a = Q5_K\nffn_gate\\.weight = IQ1_S\nffn_up\\.weight = IQ1_M\n"
      "ffn_down\\.weight = IQ2_XXS\nffn_gate_exps = IQ2_S\nffn_up_exps = IQ2_XS\nffn_gate_shexp = IQ3_XXS\n"
      "ffn_up_shexp = IQ3_S\nffn_down_exps = IQ4_NL\nffn_down_shexp = MXFP4\nblk.{0}.attn_q_b = Q4_0\n"
      "blk.{1}.attn_q_b = Q4_1\nblk.{0}.attn_output = Q5_0\nblk.{1}.attn_output = Q5_1\nattn_k_b = Q8_0\n"
      "attn_v_b = NVFP4\n";
};

TEST_F(Determinism, ThreadsDoNotMatter) {
  for (const char* effort : {"normal", "best"}) {  // best: factors and feedback, too
    const std::string one = quantize("", 1, effort);
    for (const int threads : {2, 7}) EXPECT_EQ(quantize("", threads, effort), one) << threads << " threads " << effort;
  }
}

TEST_F(Determinism, InstructionSetsDoNotMatter) {
  for (const char* effort : {"fast", "normal", "best"}) {
    const std::string widest = quantize("", 2, effort);
    for (const simd::Target target : simd::supported_targets()) {
      EXPECT_EQ(quantize(std::string(simd::target_name(target)), 2, effort), widest)
          << simd::target_name(target) << " " << effort;
    }
  }
}

// To accept a change: STEELYARD_UPDATE_GOLDEN=1 cli_test --gtest_filter=Determinism.TheReferenceIsTheCommittedOne
TEST_F(Determinism, TheReferenceIsTheCommittedOne) {
  quantize("", 2);
  const std::string path = golden("quantize.sha256");
  if (std::getenv("STEELYARD_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << data_sha256() << "\n";
    GTEST_SKIP() << "wrote " << path;
  }
  EXPECT_EQ(data_sha256() + "\n", read_text(path));
}

TEST_F(Determinism, AnInstructionSetThatIsNoneIsAnError) {
  ::setenv("STEELYARD_ISA", "mmx", 1);
  std::string known;
#define TARGET(enumerator, name, ...) known += (known.empty() ? "" : ", ") + std::string(#name);
#include "simd/targets.def"
#undef TARGET
  expect_fails({"quantize", wide_, out_, "Q8_0"}, "unknown instruction set \"mmx\" (known: " + known + ")");
  ::unsetenv("STEELYARD_ISA");
}

}  // namespace
}  // namespace steelyard::test
