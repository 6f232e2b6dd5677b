// The flags that change a plan, as users of llama-quantize know them. Their effect shows in `plan --json`.
#include <map>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "support.h"

namespace steelyard::test {
namespace {

class PlanFlags : public testing::Test {
 protected:
  using Types = std::map<std::string, std::string>;

  nlohmann::json plan(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"plan", model_, "--json"});
    const CommandResult result = run(flags);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  // Tensor → type.
  Types types(const std::vector<std::string>& flags) {
    Types types;
    const auto json = plan(flags);
    for (const auto& tensor : json["tensors"]) types[tensor["name"]] = tensor["type"];
    return types;
  }
  std::string file(const std::string& content) const {
    std::ofstream(folder_ / "file", std::ios::binary) << content;
    return folder_ / "file";
  }

  const TempFolder folder_;
  const std::string model_ = golden("imatrix/deepseek2_k256/model.gguf");
  const std::string down_ = "blk.0.ffn_down.weight";
};

TEST_F(PlanFlags, APositionalTypeIsForAllAndAnythingElseIsAPreset) {
  const Types uniform = types({"q4_k"}), preset = types({"q4_k_m"});
  EXPECT_EQ(uniform.at("output.weight"), "Q4_K");
  EXPECT_EQ(preset.at("output.weight"), "Q6_K");
  EXPECT_EQ(preset, types({"--preset", "Q4_K_M"}));
}

TEST_F(PlanFlags, CopyKeepsEverything) {
  for (const auto& [name, type] : types({"copy"})) EXPECT_EQ(type, "F32") << name;
  EXPECT_EQ(types({"COPY", "--tensor-type", "attn_q_a=Q8_0"}).at("blk.0.attn_q_a.weight"), "Q8_0");
}

TEST_F(PlanFlags, PureUsesTheBaseOnly) {
  EXPECT_EQ(types({"Q4_K_M", "--pure"}), types({"Q4_K"}));
  EXPECT_EQ(types({"--plan", file("output = Q8_0\n* = Q4_K\n"), "--pure"}), types({"Q4_K"}));
  EXPECT_EQ(types({"Q4_K_M", "--pure", "--tensor-type", "attn_q_a=Q8_0"}).at("blk.1.attn_q_a.weight"), "Q8_0");
}

TEST_F(PlanFlags, LeavesTheOutputTensor) {
  EXPECT_EQ(types({"Q4_K", "--leave-output-tensor"}).at("output.weight"), "F32");
  EXPECT_EQ(types({"Q4_K", "--leave-output-tensor"}).at("token_embd.weight"), "Q4_K");
}

TEST_F(PlanFlags, RulesComeFromAListToo) {
  const Types found =
      types({"Q4_K", "--tensor-type-file", file("attn_q_a=Q8_0 blk\\.(0|2)\\.ffn_down=q6_k\nattn_=Q5_K\n")});
  EXPECT_EQ(found.at("blk.0.attn_q_a.weight"), "Q8_0");
  EXPECT_EQ(found.at(down_), types({"Q6_K"}).at(down_));
  EXPECT_EQ(found.at("blk.0.attn_kv_a_mqa.weight"), "Q5_K");
}

// A flag that names one tensor, then --tensor-type, then the list, then the plan. Rules that lose are reported.
TEST_F(PlanFlags, OutrankEachOtherInTheDocumentedOrder) {
  const auto json = plan({"--plan", file("output=F16\n* = Q4_K\n"), "--output-tensor-type", "Q8_0", "--tensor-type",
                          "^output.w=Q6_K", "--tensor-type", "attn_q_a=Q6_K"});
  for (const auto& tensor : json["tensors"]) {
    EXPECT_TRUE(tensor["name"] != "output.weight" || tensor["type"] == "Q8_0") << tensor;
  }
  bool is_reported = false;
  for (const auto& finding : json["findings"]) {
    if (finding["severity"] != "warning") continue;
    is_reported |=
        finding["subjects"][0] == "command line `^output.w` (taken by --output-tensor-type `^output\\.weight$`)";
  }
  EXPECT_TRUE(is_reported) << json["findings"];
}

TEST_F(PlanFlags, FindingsAreInTheText) {
  const CommandResult result = run({"plan", model_, "Q4_K", "--tensor-type", "atn=Q8_0"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.out.find("\nwarning: rule matches no tensor: command line `atn`\n"), std::string::npos)
      << result.out;
}

TEST_F(PlanFlags, PlanShowsWhatAnImatrixLacks) {
  const auto errors = [&](const std::vector<std::string>& flags) {
    const auto json = plan(flags);
    std::string all;
    for (const auto& finding : json["findings"]) {
      if (finding["severity"] == "error") all += finding["what"].get<std::string>() + "\n";
    }
    return all;
  };
  const std::vector<std::string> gate = {"COPY", "--tensor-type", "gate_exps=IQ2_S"};
  EXPECT_EQ(errors(gate), "IQ2_S needs importance, and no imatrix is given\n");
  std::vector<std::string> with_imatrix = gate;
  with_imatrix.insert(with_imatrix.end(), {"--imatrix", golden("imatrix/deepseek2_k256/imatrix.gguf")});
  EXPECT_EQ(errors(with_imatrix), "");
}

}  // namespace
}  // namespace steelyard::test
