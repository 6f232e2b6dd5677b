// What is said about a plan before any work: grouped, complete, independent of the order of tensors.
#include "plan/findings.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "models.h"

namespace steelyard::plan {
namespace {

std::vector<std::string> lines(std::string_view plan, const std::vector<gguf::TensorInfo>& tensors) {
  std::vector<std::string> lines;
  for (const Finding& finding : findings(resolve(Plan::parse(plan, "p"), tensors))) {
    lines.push_back(fmt::format("{}: {}", name(finding.severity), describe(finding)));
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(Findings, NothingToSayWhenEveryRuleDoesWhatItSays) {
  EXPECT_EQ(lines("q = Q8_0\n* = Q4_K", {tensor("q.weight", {256, 8}, formats::Type::BF16)}), Lines{});
}

TEST(Findings, TellHowRulesCameToDecideNothing) {
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.attn_q.weight", {256, 8}, formats::Type::BF16),
                                                 tensor("blk.0.attn_norm.weight", {256}, formats::Type::F32),
                                                 tensor("output_norm.weight", {256}, formats::Type::F32)};
  EXPECT_EQ(lines("attn_q = Q8_0\nattn_[qk] = Q6_K\nattn_ = Q4_K\nput_norm = Q4_K\nupp = F16\ndwon = F16\n", tensors),
            (Lines{
                "warning: earlier rules take every tensor that a rule matches: p:2 `attn_[qk]` (taken by p:1 "
                "`attn_q`), p:3 `attn_` (taken by p:1 `attn_q`, the rest is protected)",
                "warning: rule matches only protected tensors, which are never quantized: p:4 `put_norm`",
                "warning: rule matches no tensor: p:5 `upp`, p:6 `dwon`",
                "note: protected, so no rule changes it (norm): output_norm.weight, blk.0.attn_norm.weight",
            }));
}

TEST(Findings, TellWhatTheCommandLineReplaces) {
  Plan plan = Plan::parse("q = Q8_0\nk ?= Q8_0\n* = Q4_K", "p");
  plan.prepend({Plan::parse_rule("q = F16", "command line"), Plan::parse_rule("* = Q5_K", "command line"),
                Plan::parse_rule("q.w ?= F32", "command line")});
  const gguf::TensorInfo info = tensor("q.weight", {256, 8}, formats::Type::BF16);
  const std::vector<Finding> found = findings(resolve(plan, std::span(&info, 1)));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].severity, Severity::kNote);
  EXPECT_EQ(
      describe(found[0]),
      "given in place of a rule of the plan: command line `q` (was Q8_0 in p:1), command line `*` (was Q4_K in p:3)");
}

TEST(Findings, NameFallbacks) {
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.attn_k_b.weight", {192, 8}, formats::Type::BF16)};
  EXPECT_EQ(lines("* = Q4_K", tensors),
            Lines{"warning: Q5_0 instead of Q4_K, whose blocks of 256 do not divide the rows: blk.0.attn_k_b.weight "
                  "(rows of 192)"});
}

TEST(Findings, GroupThousandsOfTensorsInTheOrderOfLayers) {
  std::vector<gguf::TensorInfo> tensors;
  for (int layer = 4999; layer >= 0; --layer) {
    tensors.push_back(tensor(fmt::format("blk.{}.attn_k_b.weight", layer), {192, 8}, formats::Type::BF16));
  }
  const Lines found = lines("* = Q4_K", tensors);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(
      found[0].ends_with("blk.0.attn_k_b.weight (rows of 192), blk.1.attn_k_b.weight (rows of 192), "
                         "blk.2.attn_k_b.weight (rows of 192) and 4997 more (5000 in all)"))
      << found[0];
}

TEST(Findings, NamesFromFilesStayOnOneLine) {
  const Lines found = lines("a\x1b = F16\n* = Q4_K", {tensor("b\n.weight", {192, 8}, formats::Type::BF16)});
  ASSERT_EQ(found.size(), 2u);
  for (const std::string& line : found) EXPECT_EQ(line.find_first_of("\n\x1b"), std::string::npos) << line;
}

TEST(Findings, RefuseErrorsAndUnderStrictnessWarnings) {
  std::vector<Finding> found;
  add(found, Severity::kNote, "small", "a");
  EXPECT_NO_THROW(refuse(found, true, "m"));
  add(found, Severity::kWarning, "doubtful", "b");
  EXPECT_NO_THROW(refuse(found, false, "m"));
  EXPECT_THROW(refuse(found, true, "m"), Error);
  add(found, Severity::kError, "wrong", "c");
  add(found, Severity::kError, "wrong", "d");
  ASSERT_EQ(found.size(), 3u);
  try {
    refuse(found, false, "m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "m: wrong: c, d");
  }
  try {
    refuse(found, true, "m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "m: doubtful: b; wrong: c, d");
  }
}

// Whatever the reason: a file of an adapter whose tensors are no weights, a file that is quantized already.
TEST(Findings, TellThatNothingIsQuantized) {
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.attn_q.weight", {256, 8}, formats::Type::Q8_0),
                                                 tensor("blk.0.attn_q.bias", {256, 8}, formats::Type::F16),
                                                 tensor("blk.1.attn_q.bias", {256, 8}, formats::Type::F16)};
  const std::string expected =
      "warning: nothing is quantized, every tensor keeps its type: 1 Q8_0 already, 2 protected (not a weight)";
  EXPECT_EQ(lines("* = Q8_0", tensors), Lines{expected});
  EXPECT_EQ(lines("attn_q.weight = Q8_0\n* = keep", tensors), Lines{expected});
  EXPECT_EQ(lines("* = Q4_K", tensors), Lines{}) << "a tensor changes";
  EXPECT_EQ(lines("* = keep", tensors), Lines{}) << "a copy was wanted";
  EXPECT_EQ(lines("* = Q8_0", {}),
            Lines{"warning: nothing is quantized, every tensor keeps its type: the file has no tensors"});
}

}  // namespace
}  // namespace steelyard::plan
