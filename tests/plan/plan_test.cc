// The grammar of plans: what is accepted, what is refused and with which words, and that nothing crashes the parser.
#include "plan/plan.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "error_of.h"
#include "models.h"
#include "plan/resolve.h"
#include "support.h"

namespace steelyard::plan {
namespace {

// The message of the Error that `text` as a plan named p.plan causes; empty when there is none.
std::string refusal(std::string_view text) {
  return test::error_of([&] { Plan::parse(text, "p.plan"); });
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

TEST(Plan, ReadsRulesInOrder) {
  const Plan plan =
      Plan::parse("# a plan\n\nffn_(gate|up)_exps = IQ2_S\n  attn_ = q4_k   # lower case\n* = IQ3_S\n", "p.plan");
  ASSERT_EQ(plan.rules().size(), 2u);
  EXPECT_EQ(plan.rules()[0].pattern, "ffn_(gate|up)_exps");
  EXPECT_EQ(plan.rules()[0].type, formats::Type::IQ2_S);
  EXPECT_EQ(plan.rules()[0].where(), "p.plan:3");
  EXPECT_EQ(plan.rules()[1].pattern, "attn_");
  EXPECT_EQ(plan.rules()[1].type, formats::Type::Q4_K);
  EXPECT_EQ(plan.rules()[1].line, 4);
  ASSERT_TRUE(plan.base().has_value());
  EXPECT_EQ(plan.base()->type, formats::Type::IQ3_S);
}

TEST(Plan, ToleratesByteOrderMarkCrlfAndNoFinalNewline) {
  const Plan plan = Plan::parse("\xEF\xBB\xBF# x\r\na\t=\tQ8_0\r\n\r\n* = Q4_0", "p.plan");
  ASSERT_EQ(plan.rules().size(), 1u);
  EXPECT_EQ(plan.rules()[0].pattern, "a");
  EXPECT_EQ(plan.base()->type, formats::Type::Q4_0);
}

TEST(Plan, SplitsAtTheLastEqualsSign) {
  const Plan plan = Plan::parse("a=b = F16\n(?P<x>y)=Q8_0\n", "p.plan");
  EXPECT_EQ(plan.rules()[0].pattern, "a=b");
  EXPECT_EQ(plan.rules()[1].pattern, "(?P<x>y)");
}

TEST(Plan, CommentsNeedABlankBeforeThem) {
  const Plan plan = Plan::parse("a#b = Q8_0 # c = d\n# e = f\n", "p.plan");
  ASSERT_EQ(plan.rules().size(), 1u);
  EXPECT_EQ(plan.rules()[0].pattern, "a#b");
}

TEST(Plan, ReadsKeepConditionsAndOptionalRules) {
  const Plan plan =
      Plan::parse("^output = keep\nb ?= Q6_K if tied\nc? = Q4_1 if imatrix\nd ?= Q4_1 if not imatrix", "p.plan");
  EXPECT_FALSE(plan.rules()[0].type.has_value());
  EXPECT_TRUE(plan.rules()[1].optional);
  EXPECT_EQ(plan.rules()[1].pattern, "b");
  EXPECT_EQ(plan.rules()[1].condition.text(), "tied");
  EXPECT_FALSE(plan.rules()[2].optional);
  EXPECT_EQ(plan.rules()[2].pattern, "c?");
  EXPECT_EQ(plan.rules()[2].condition.text(), "imatrix");
  EXPECT_EQ(plan.rules()[3].condition.text(), "not imatrix");
}

TEST(Plan, QuestionMarkWithoutBlankBelongsToThePattern) {
  const Plan plan = Plan::parse("weights?= Q8_0", "p.plan");
  EXPECT_EQ(plan.rules()[0].pattern, "weights?");
  EXPECT_FALSE(plan.rules()[0].optional);
}

TEST(Plan, RefusesWithLineAndReason) {
  EXPECT_EQ(refusal("# x\nattn_q Q4_K\n"), "p.plan:2: expected PATTERN = TYPE, found 'attn_q Q4_K'");
  EXPECT_TRUE(contains(refusal("attn_( = Q4_K"), "p.plan:1: bad regular expression: missing )"));
  EXPECT_TRUE(contains(refusal("\xff = Q4_K"), "bad regular expression: invalid UTF-8"));
  EXPECT_EQ(refusal("a = Q4K"), "p.plan:1: unknown type 'Q4K'; did you mean Q4_K?");
  EXPECT_EQ(refusal("a = Q4_K_M"), "p.plan:1: unknown type 'Q4_K_M'; did you mean Q4_K?");
  EXPECT_TRUE(contains(refusal("a = potato"), "known types: F32 F16 Q4_0"));
  EXPECT_EQ(refusal("a = I32"), "p.plan:1: I32 is no type for weights");
  EXPECT_EQ(refusal("a ="), "p.plan:1: no type after '='");
  EXPECT_EQ(refusal(" = Q4_K"), "p.plan:1: a rule needs a pattern before '='");
  EXPECT_TRUE(contains(refusal("a = Q4_K if"), "unknown condition ''; expected one of: imatrix, not imatrix, tied"));
  EXPECT_TRUE(contains(refusal("a = Q4_K Q5_K"), "unexpected 'Q5_K' after the type"));
  EXPECT_TRUE(contains(refusal("* ?= Q4_K"), "takes no condition"));
  EXPECT_TRUE(contains(refusal("* = Q4_K if tied"), "takes no condition"));
  EXPECT_EQ(refusal("a = Q4_K\nb = F16\na = Q5_K"),
            "p.plan:3: `a` stands already in line 1, so this line would never decide anything");
  EXPECT_TRUE(contains(refusal("* = Q4_K\n* = Q4_K"), "`*` stands already in line 1"));
  EXPECT_EQ(refusal("a = F16 if tied\na = F32"), "") << "conditions differ, so both lines can decide";
}

TEST(Plan, RefusesBadLayerSets) {
  for (const char* set : {"", "x", "4-", "5-4", "1/0", "3/2", "1:2:0", "1:2:3:4", "0-4,,5", "-0", "1e9",
                          "99999999999999999999", "1/8*2", "1/8+", "--4", "1:x"}) {
    EXPECT_NE(refusal(std::string("blk.{") + set + "}.x = Q4_K"), "") << set;
  }
  EXPECT_TRUE(contains(refusal("blk.{0-4 = Q4_K"), "layer set without '}'"));
}

TEST(Plan, BracesElsewhereAreRepetition) {
  EXPECT_EQ(refusal("a{2}b{1,3} = Q4_K"), "");
  EXPECT_TRUE(contains(refusal("a{2000} = Q4_K"), "bad regular expression"));
}

TEST(Plan, PrependedRulesComeFirstAndReplace) {
  Plan plan = Plan::parse("a = Q4_K\nb = Q5_K\n* = Q3_K", "p.plan");
  plan.prepend({Plan::parse_rule("c=F16", "command line"), Plan::parse_rule("b=Q8_0", "command line"),
                Plan::parse_rule("*=Q6_K", "command line")});
  EXPECT_EQ(plan.text(), "c = F16\nb = Q8_0\na = Q4_K\n* = Q6_K\n");
  EXPECT_EQ(plan.rules()[0].where(), "command line");
  const std::vector<PlanRule> twice = {Plan::parse_rule("x=F16", "command line"),
                                       Plan::parse_rule("x=F32", "command line")};
  EXPECT_THROW(plan.prepend(twice), Error);
  EXPECT_THROW(Plan::parse_rule("a=Q4_K\nb=Q4_K", "command line"), Error);
}

TEST(Plan, TextReadsBackToTheSamePlan) {
  const std::string text =
      "blk.{0-4, 7/8:, 1/8+2::3, -1}\\.a|b=c = keep\nx#y ?= Q4_1 if imatrix\nx#y = IQ2_S if not tied\n"
      "a = keep if imatrix and gqa >= 4 and index in {:1/8, -1}\n* = BF16\n";
  EXPECT_EQ(Plan::parse(text, "p.plan").text(), text);
  EXPECT_EQ(Plan::uniform(formats::Type::Q8_0).text(), "* = Q8_0\n");
  EXPECT_EQ(Plan::uniform(std::nullopt).text(), "* = keep\n");
}

// The plan stored in a quantized file decides like the original plan, whatever was on the command line.
TEST(Plan, TextOfEveryPresetDecidesTheSame) {
  const std::string plans = std::string(STEELYARD_SOURCE_DIR) + "/plans";
  for (const char* name : kModels) {
    const Model model = read_model(name);
    for (const auto& [preset, picks] : model.picks) {
      if (contains(preset, "+")) continue;
      Plan plan = Plan::preset(plans, preset);
      plan.prepend({Plan::parse_rule("^output\\.weight$ = keep", "--leave-output-tensor"),
                    Plan::parse_rule("ffn_down?=F16 if index in { 3 , 4 }", "command line")});
      const Resolution first = resolve(plan, model.tensors, model.facts);
      const Resolution again = resolve(Plan::parse(plan.text(), "stored"), model.tensors, model.facts);
      for (size_t i = 0; i < first.decisions.size(); ++i) {
        ASSERT_EQ(first.decisions[i].type, again.decisions[i].type) << preset << " " << model.tensors[i].name;
      }
    }
  }
}

TEST(Plan, PureKeepsTheBaseOnly) {
  Plan plan = Plan::parse("a = Q4_K\n* = Q3_K", "p.plan");
  plan.make_pure();
  EXPECT_EQ(plan.text(), "* = Q3_K\n");
  Plan without = Plan::parse("a = Q4_K", "p.plan");
  EXPECT_THROW(without.make_pure(), Error);
}

TEST(Plan, ReadsListsOfRules) {
  const auto rules =
      Plan::parse_rule_list("attn_v=Q6_K blk\\.(0|1)\\.=q8_0\r\n\n# none here=F16\n\tx?=keep # y=F16\n", "list");
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0].pattern, "attn_v");
  EXPECT_EQ(rules[1].type, formats::Type::Q8_0);
  EXPECT_EQ(rules[1].where(), "list:1");
  EXPECT_EQ(rules[2].pattern, "x?");
  EXPECT_EQ(rules[2].where(), "list:4");
  EXPECT_TRUE(Plan::parse_rule_list("", "list").empty());
  for (const char* text : {"attn_v = Q6_K", "attn_v", "attn_(=Q6_K", "attn_v=Q9"}) {
    EXPECT_THROW(Plan::parse_rule_list(text, "list"), Error) << text;
  }
}

TEST(Plan, LoadsFilesAndPresets) {
  test::TempFolder folder;
  std::ofstream(folder / "x.plan") << "a = Q4_K\n* = Q4\n";
  try {
    Plan::load(folder / "x.plan");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), (folder / "x.plan") + ":2");
  }
  EXPECT_THROW(Plan::load(folder / "absent.plan"), Error);
  std::ofstream(folder / "big.plan") << std::string(2 << 20, '#');
  EXPECT_THROW(Plan::load(folder / "big.plan"), Error);

  const std::string plans = std::string(STEELYARD_SOURCE_DIR) + "/plans";
  EXPECT_EQ(Plan::preset(plans, "q4_k_m").base()->type, formats::Type::Q4_K);
  for (const char* name : {"no-such", "", "../glm-4.7-flash-asym-2bit", "Q4_K_M.plan"}) {
    try {
      Plan::preset(plans, name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_TRUE(contains(error.what(), "unknown; there are: BF16 F16")) << error.what();
    }
  }
  EXPECT_THROW(Plan::preset(folder / "nowhere", "Q8_0"), Error);
}

// Whatever the bytes: a plan or an Error; what parses survives a round trip through text() and can be resolved.
TEST(Plan, SurvivesRandomText) {
  const std::string_view pieces[] = {
      "blk.", "blk\\.", "{",    "}",   "0-4",    ":1/8",  "7/8:", ",",  "=", "?=",    " ",        "\n", "\r\n",
      "#",    "Q4_K",   "keep", "*",   "IQ2_XS", "attn_", "(",    ")",  "|", "[a-z]", "\\d+",     "if", "tied",
      "not",  "{2}",    "{1,}", "and", "gqa",    "index", "in",   ">=", "4", "\xff",  "\xc3\xa4", "-9", "\t"};
  std::vector<gguf::TensorInfo> tensors;
  for (const char* name :
       {"token_embd.weight", "blk.0.attn_q.weight", "blk.46.attn_k.weight", "blk.1000000.x.weight"}) {
    tensors.push_back(tensor(name, {192, 8}, formats::Type::BF16));
  }
  std::mt19937 random(7);
  int parsed = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text;
    for (unsigned n = random() % 14; n > 0; --n) {
      if (random() % 20 == 0) {
        text += static_cast<char>(random());
      } else {
        text += pieces[random() % std::size(pieces)];
      }
      if (random() % 6 == 0) text += " = F16\n";
    }
    try {
      const Plan plan = Plan::parse(text, "p");
      EXPECT_EQ(Plan::parse(plan.text(), "q").text(), plan.text()) << text;
      EXPECT_EQ(resolve(plan, tensors).decisions.size(), tensors.size());
      parsed += !plan.rules().empty();
    } catch (const Error&) {
    }
  }
  EXPECT_GT(parsed, 500);
}

}  // namespace
}  // namespace steelyard::plan
