// Everything that is wrong with a job shows before its first byte, all of it at once: importance that is missing, thin,
// zero or of another model, together with what the plan alone shows.
#include "quantize/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "imatrix/matching.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using testing::HasSubstr;

class Preflight : public testing::Test {
 protected:
  // Findings as lines "severity: description".
  std::vector<std::string> lines(const std::string& plan, const imatrix::Imatrix* imatrix) {
    std::vector<std::string> lines;
    const plan::Resolution resolution =
        resolve(plan::Plan::parse(plan, "p"), model_.tensors(), {.imatrix = imatrix != nullptr});
    for (const plan::Finding& finding : findings({model_, resolution, imatrix})) {
      lines.push_back(fmt::format("{}: {}", name(finding.severity), describe(finding)));
    }
    return lines;
  }

  // The message that refuses the job; empty when it may begin.
  std::string refusal(const std::string& plan, const imatrix::Imatrix* imatrix, bool strict) {
    const plan::Resolution resolution = resolve(plan::Plan::parse(plan, "p"), model_.tensors());
    return test::error_of([&] { check({model_, resolution, imatrix, /*allow_requantize=*/false, strict}); });
  }

  const gguf::Reader model_{test::golden("imatrix/deepseek2_k256/model.gguf"), gguf::ReadMode::kHeader};
  imatrix::Imatrix imatrix_ = imatrix::Imatrix::load(test::golden("imatrix/deepseek2_k256/imatrix.gguf"));
  using Lines = std::vector<std::string>;
};

TEST_F(Preflight, NothingToSayAboutAGoodJob) {
  EXPECT_EQ(lines("ffn_up_exps = IQ2_S\n* = Q8_0", &imatrix_), Lines{});
  EXPECT_EQ(refusal("ffn_up_exps = IQ2_S\n* = Q8_0", &imatrix_, true), "");
}

TEST_F(Preflight, RequiredImportanceIsAnErrorWithoutStrictnessToo) {
  const std::string plan = "^(token_embd|output)\\.weight = IQ2_S";
  EXPECT_EQ(lines(plan, nullptr),
            Lines{"error: IQ2_S needs importance, and no imatrix is given: output.weight, token_embd.weight"});
  EXPECT_EQ(refusal(plan, nullptr, false),
            model_.path() + ": IQ2_S needs importance, and no imatrix is given: output.weight, token_embd.weight");
  EXPECT_EQ(lines(plan, &imatrix_),
            Lines{"error: IQ2_S needs importance, and the imatrix has none for it: output.weight, token_embd.weight"});
}

// Calibration leaves out the matrices around the layers; in a layer, a gap is one that nobody meant.
TEST_F(Preflight, UsefulImportanceThatIsMissing) {
  imatrix_.entries.erase("blk.1.attn_q_a.weight");
  std::ranges::fill(imatrix_.entries.at("blk.0.attn_q_a.weight").counts, 0);
  const std::string plan = "^output\\.weight = Q4_K\nattn_q_a\\. = Q4_K";
  EXPECT_EQ(lines(plan, &imatrix_),
            (Lines{"warning: Q4_K can use importance, and the imatrix has none for it: blk.0.attn_q_a.weight, "
                   "blk.1.attn_q_a.weight",
                   "note: Q4_K can use importance, and the imatrix has none for it: output.weight"}));
  EXPECT_EQ(lines(plan, nullptr), Lines{}) << "without an imatrix nothing is missing";
  EXPECT_EQ(lines("* = Q8_0", &imatrix_), Lines{}) << "types without use for importance miss nothing";
}

TEST_F(Preflight, ListsEverythingTogether) {
  imatrix::ImatrixEntry& up = imatrix_.entries.at("blk.1.ffn_up_exps.weight");
  const auto row = up.in_sum2.begin() + up.n_in;
  up.counts[0] = 0;
  std::fill_n(up.in_sum2.begin(), up.n_in, 0.0);
  std::fill_n(row, up.n_in, 0.0);  // the second expert saw inputs, all of them zero
  imatrix::ImatrixEntry& down = imatrix_.entries.at("blk.0.ffn_down.weight");
  down.n_in /= 2;
  down.in_sum2.resize(static_cast<size_t>(down.n_in));
  const std::string plan =
      "ffn_dwon = Q8_0\n^token_embd = IQ2_S\nffn_up_exps = IQ2_S\n\\.up_exps = Q4_K\n"
      "blk.0.ffn_(up|down)\\. = Q4_K\nattn_output = Q4_K\nattn_o = Q4_K";
  const Lines found = lines(plan, &imatrix_);
  ASSERT_EQ(found.size(), 7u);
  EXPECT_EQ(found[0], "error: IQ2_S needs importance, and the imatrix has none for it: token_embd.weight");
  EXPECT_THAT(found[1], HasSubstr("error: the imatrix does not fit the tensor: "));
  EXPECT_THAT(found[1], HasSubstr("blk.0.ffn_down.weight is [128, 1], expected [256, 1]"));
  EXPECT_EQ(found[2], "warning: rule matches no tensor: p:1 `ffn_dwon`, p:4 `\\.up_exps`");
  EXPECT_EQ(found[3],
            "warning: earlier rules take every tensor that a rule matches: p:7 `attn_o` (taken by p:6 `attn_output`)");
  EXPECT_EQ(found[4],
            "warning: Q5_0 instead of Q4_K, whose blocks of 256 do not divide the rows: blk.0.attn_output.weight (rows "
            "of 64), blk.1.attn_output.weight (rows of 64)");
  EXPECT_EQ(found[5],
            "warning: experts without calibration data borrow the importance of their layer's mean: "
            "blk.1.ffn_up_exps.weight (1 of 4 experts)");
  EXPECT_EQ(found[6], "warning: the importance is all zero: blk.1.ffn_up_exps.weight (1 of 4 experts)");

  // One message holds all errors, and under strictness all warnings too.
  const std::string lenient = refusal(plan, &imatrix_, false), strict = refusal(plan, &imatrix_, true);
  for (const std::string& line : found) {
    const std::string what = line.substr(line.find(": ") + 2);
    EXPECT_EQ(lenient.find(what) != std::string::npos, line.starts_with("error")) << what;
    EXPECT_THAT(strict, HasSubstr(what));
  }
}

TEST_F(Preflight, WarningsRefuseOnlyUnderStrictness) {
  EXPECT_EQ(refusal("nothing = Q8_0", nullptr, false), "");
  EXPECT_THAT(refusal("nothing = Q8_0", nullptr, true), HasSubstr("rule matches no tensor: p:1 `nothing`"));
  EXPECT_EQ(refusal("^output = Q8_0", nullptr, true), "") << "notes never refuse";
}

TEST_F(Preflight, ThinCalibrationIsNoted) {
  imatrix_.prior_weight = 1e6;
  EXPECT_EQ(lines("ffn_up_exps = IQ2_S", &imatrix_),
            Lines{"note: experts with less calibration data than their layer's mean weighs (--prior-weight): "
                  "blk.1.ffn_up_exps.weight (4 of 4 experts)"});
}

TEST_F(Preflight, ImportanceOfAnotherMatrixIsNotedAndThatOfAnotherModelAWarning) {
  const imatrix::ImatrixEntry gate = imatrix_.entries.at("blk.1.ffn_gate_exps.weight");
  imatrix_.entries.erase("blk.1.ffn_up_exps.weight");
  imatrix_.entries["blk.7.ffn_up_exps.weight"] = gate;
  match(imatrix_, model_.tensors());
  EXPECT_EQ(lines("ffn_up_exps = IQ2_S", &imatrix_),
            (Lines{"warning: entry of the imatrix that names no tensor of the model; is it of another model?: "
                   "blk.7.ffn_up_exps.weight",
                   "note: has the importance of a matrix with the same input: blk.1.ffn_up_exps.weight (of "
                   "blk.1.ffn_gate_exps.weight)"}));
  EXPECT_THAT(refusal("ffn_up_exps = IQ2_S", &imatrix_, true), HasSubstr("is it of another model?"));
}

}  // namespace
}  // namespace steelyard::quantize
