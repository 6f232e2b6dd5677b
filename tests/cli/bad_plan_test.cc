// Plans, types and importance that do not fit the model, given to plan and quantize.
#include "cli/failure.h"

namespace steelyard::test {
namespace {

class BadPlan : public FailureTest {
 protected:
  void expect_rejected(const std::vector<std::string>& flags, const std::string& reason) {
    std::vector<std::string> plan = {"plan", llama_}, quantize = {"quantize", llama_, out_};
    plan.insert(plan.end(), flags.begin(), flags.end());
    quantize.insert(quantize.end(), flags.begin(), flags.end());
    expect_fails(plan, reason);
    expect_fails(quantize, reason);
  }
  void expect_plan_rejected(const std::string& text, const std::string& reason) {
    expect_rejected({"--plan", file("bad.plan", text)}, reason);
  }
};

TEST_F(BadPlan, Grammar) {
  expect_plan_rejected("* = Q8_0\nattn_(q|k = Q8_0\n", "bad.plan:2: ");
  expect_plan_rejected("attn_q = Q9_Z\n", "unknown type 'Q9_Z'");
  expect_plan_rejected("attn_q = Q4_K_M\n", "did you mean Q4_K?");
  expect_plan_rejected("attn_q Q8_0\n", "expected PATTERN = TYPE");
  expect_plan_rejected("attn_q =\n", "no type after '='");
  expect_plan_rejected("attn_q = I32\n", "I32");
  expect_plan_rejected("attn_q = Q8_0 if rainy\n", "unknown condition 'rainy'");
  expect_plan_rejected("attn_q = Q8_0 if gqa >= few\n", "'few' is no number");
  expect_plan_rejected("attn_q = Q8_0 if index in {x}\n", "'x' is no layer");
  expect_plan_rejected("attn_q = Q8_0\nattn_q = Q8_0\n", "stands already in line 1");
  expect_plan_rejected(std::string("\0\xff\xfe\n\r\x1b = \x01", 9), "bad.plan:");
}

TEST_F(BadPlan, NoPlanAtAll) {
  expect_rejected({"--plan", folder_ / "absent.plan"}, "absent.plan: cannot open");
  expect_rejected({"--plan", folder_ / ""}, "not a regular file");
  expect_rejected({"--plan", llama_}, llama_);  // a model by mistake
  expect_rejected({"--preset", "Q4_K_XXL"}, "unknown; there are:");
  expect_rejected({"--preset", "../glm-4.7-flash-asym-2bit"}, "unknown; there are:");
  expect_rejected({}, "give one of");
  expect_rejected({"--plan", file("a.plan", "* = Q8_0\n"), "--preset", "Q8_0"}, "give one of");
  expect_fails({"quantize", llama_, out_, "Q9_Z"}, "unknown; there are:");
  expect_fails({"quantize", llama_, out_, "Q8_0", "--preset", "Q8_0"}, "give one of");
}

TEST_F(BadPlan, RulesOnTheCommandLine) {
  expect_rejected({"--preset", "Q8_0", "--tensor-type", "attn_q"}, "command line: expected PATTERN = TYPE");
  expect_rejected({"--preset", "Q8_0", "--tensor-type", "attn_(q=Q8_0"}, "command line");
  expect_rejected({"--preset", "Q8_0", "--tensor-type", "attn_q=Q8_0", "--tensor-type", "attn_q=BF16"}, "given twice");
  expect_rejected({"--preset", "Q8_0", "--token-embedding-type", "Q9_Z"}, "unknown type 'Q9_Z'");
  expect_rejected({"--preset", "Q8_0", "--output-tensor-type", "Q9_Z"}, "unknown type 'Q9_Z'");
  expect_rejected({"--preset", "Q8_0", "--output-tensor-type", "Q6_K", "--leave-output-tensor"}, "given twice");
  expect_rejected({"--pure", "--plan", file("a.plan", "attn = Q8_0\n")}, "no base");
}

TEST_F(BadPlan, ListsOfRules) {
  const auto list = [&](const std::string& text) {
    return std::vector<std::string>{"--preset", "Q8_0", "--tensor-type-file", file("types.txt", text)};
  };
  expect_rejected(list("attn_q=Q6_K\nattn_k\n"), "types.txt:2: expected PATTERN = TYPE");
  expect_rejected(list("attn_q=Q6_K attn_q=Q8_0\n"), "given twice");
  expect_rejected(list("attn_(q=Q6_K\n"), "types.txt:1: bad regular expression");
  expect_rejected({"--preset", "Q8_0", "--tensor-type-file", folder_ / "absent"}, "cannot open");
}

TEST_F(BadPlan, StrictlyEveryWarningIsAnError) {
  const std::string plan = file("a.plan", "atn_q = Q6_K\nattn_q = Q8_0\nattn_q\\. = Q4_0\n* = Q8_0\n");
  expect_rejected({"--plan", plan, "--strict"}, "rule matches no tensor: " + plan + ":1 `atn_q`");
  expect_rejected({"--plan", plan, "--strict"}, "(taken by " + plan + ":2 `attn_q`)");
  expect_fails({"plan", wide_, "IQ2_S", "--strict"}, "IQ2_S needs importance, and no imatrix is given");
  expect_fails({"plan", wide_, "IQ2_S", "--json", "--strict"}, "needs importance");
}

TEST_F(BadPlan, ImportanceIsRequired) {
  expect_fails({"quantize", wide_, out_, "IQ2_S"}, "IQ2_S needs importance, and no imatrix is given");
  // Known for blocks, unknown for the output matrix.
  expect_fails({"quantize", wide_, out_, "IQ2_S", "--imatrix", golden("imatrix/deepseek2_k256/imatrix.gguf")},
               "IQ2_S needs importance, and the imatrix has none for it: output.weight");
  expect_fails({"quantize", wide_, out_, "IQ2_S", "--dry-run"}, "needs importance");
}

TEST_F(BadPlan, ImatrixOfAnotherModel) {
  for (const char* name : {"imatrix.gguf", "imatrix.dat"}) {
    expect_fails({"quantize", wide_, out_, "Q4_K", "--imatrix", golden("imatrix/deepseek2/") + name},
                 "of another model");
  }
}

TEST_F(BadPlan, DamagedImatrix) {
  const std::string gguf = read_text(golden("imatrix/deepseek2_k256/imatrix.gguf"));
  const std::string dat = read_text(golden("imatrix/deepseek2_k256/imatrix.dat"));
  const std::string path = folder_ / "damaged";
  for (const std::string& bytes :
       {gguf.substr(0, 1000), gguf.substr(0, gguf.size() - 64), dat.substr(0, 3), dat.substr(0, 2000), std::string(),
        std::string("\xff\xff\xff\x7f", 4), std::string("text\n")}) {
    file("damaged", bytes);
    expect_fails({"quantize", wide_, out_, "Q4_K", "--imatrix", path}, path);
    expect_fails({"imatrix", "--in-file", path, "-o", out_}, path);
    expect_fails({"inspect", path}, path);
  }
  expect_fails({"quantize", wide_, out_, "Q4_K", "--imatrix", folder_ / "absent"}, "cannot open");
  expect_fails({"quantize", wide_, out_, "Q4_K", "--imatrix", llama_}, llama_);  // a model by mistake
}

TEST_F(BadPlan, ImatricesThatDoNotMerge) {
  expect_fails({"imatrix", "-o", out_, "--in-file",
                golden("imatrix/deepseek2/imatrix.gguf") + "," + golden("imatrix/deepseek2_k256/imatrix.gguf")},
               "expected [");
}

TEST_F(BadPlan, QuantizingAgain) {
  const std::string quantized = golden("imatrix/deepseek2/model_Q8_0.gguf");
  expect_fails({"quantize", quantized, out_, "Q5_0"}, "needs --allow-requantize");
  expect_fails({"quantize", quantized, out_, "Q5_0", "--dry-run"}, "needs --allow-requantize");
}

}  // namespace
}  // namespace steelyard::test
