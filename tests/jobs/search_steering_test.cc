// What a user may demand of a choice: fixed types, gates tied to their ups, few rules.
#include "jobs/search_steering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/search_problems.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

gguf::Reader open(const std::string& model) {
  return gguf::Reader(test::golden("models/" + model + "/model.gguf"), gguf::ReadMode::kHeader);
}

double bpw(const gguf::Reader& source, const ChoiceProblem& problem, double part) {
  const auto least = static_cast<double>(bytes_in(source, extreme_types(problem, false)));
  const auto most = static_cast<double>(bytes_in(source, extreme_types(problem, true)));
  int64_t n_elements = 0;
  for (const gguf::TensorInfo& tensor : source.tensors()) n_elements += tensor.n_elements();
  return 8 * (least + part * (most - least)) / static_cast<double>(n_elements);
}

TEST(Steering, FixedTensorsHaveTheirType) {
  const gguf::Reader source = open("deepseek3");
  const SteeringOptions steering{
      .fix = {"blk.{1}.ffn_gate_exps=Q8_0", "ffn_gate_exps=Q5_K", "^output=Q4_0", "attn_output=keep"}};
  const search::Types fixed = fixed_types(steering, source, /*has_imatrix=*/false);
  EXPECT_EQ(fixed.at("blk.1.ffn_gate_exps.weight"), formats::find_format("Q8_0")->type);
  // Rows that blocks of 256 do not divide.
  const gguf::TensorInfo& gate = *source.find("blk.2.ffn_gate_exps.weight");
  EXPECT_NE(gate.ne[0] % 256, 0);
  EXPECT_EQ(fixed.at(gate.name), formats::find_format("Q5_1")->type);
  EXPECT_EQ(fixed.at("output.weight"), formats::find_format("Q4_0")->type);
  const ChoiceProblem problem = made_up_problem(source, 1, fixed), free = made_up_problem(source, 1);
  for (const double part : {0.1, 0.6}) {
    const double bits = bpw(source, problem, part);
    const Choice choice = bits_budget(source, bits)->choose(problem);
    const plan::Resolution found = resolve_text(source, choice.text);
    size_t n_fixed = 0;
    for (const plan::Decision& decision : found.decisions) {
      const auto at = fixed.find(decision.tensor->name);
      if (at == fixed.end()) continue;
      ++n_fixed;
      EXPECT_EQ(decision.type, at->second) << decision.tensor->name;
    }
    EXPECT_EQ(n_fixed, fixed.size());
    EXPECT_LE(found.bits_per_weight, bits);
    EXPECT_NE(bits_budget(source, bits)->choose(free).types, choice.types);
  }
}

// The start plan has them too, before its own rules.
TEST(Steering, FixedRulesComeFirst) {
  const SteeringOptions steering{.fix = {"ffn_down=Q8_0", "attn=Q5_0"}};
  const plan::Plan plan = steering.before(plan::Plan::parse("ffn_down = Q4_0\nffn = Q4_1\n* = Q5_1\n", "start"));
  ASSERT_EQ(plan.rules().size(), 3u);
  EXPECT_EQ(plan.rules()[0].pattern, "ffn_down");
  EXPECT_EQ(plan.rules()[0].type, formats::find_format("Q8_0")->type);
  EXPECT_EQ(plan.rules()[1].pattern, "attn");
  EXPECT_EQ(plan.rules()[2].pattern, "ffn");
  EXPECT_EQ(plan.base()->type, formats::find_format("Q5_1")->type);
}

TEST(Steering, RulesThatAreNoneAreRefused) {
  const gguf::Reader source = open("llama");
  const auto expect_refused = [&](const std::vector<std::string>& fix, const std::string& words) {
    const std::string error = test::error_of([&] { fixed_types({.fix = fix}, source, /*has_imatrix=*/false); });
    EXPECT_THAT(error, HasSubstr("--fix"));
    EXPECT_THAT(error, HasSubstr(words));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  };
  expect_refused({"ffn_down"}, "=");
  expect_refused({"ffn_down=Q99"}, "Q99");
  expect_refused({"ffn_(down=Q8_0"}, "ffn_(down");
  expect_refused({"ffn_dwon=Q8_0"}, "matches no tensor");
  expect_refused({"attn_norm=Q8_0"}, "only tensors that no plan changes");
  expect_refused({"ffn=Q8_0", "ffn_down=Q4_0"}, "earlier rules take all");
  expect_refused({"*=Q8_0"}, "nothing to choose");
  expect_refused({"ffn=Q8_0", "ffn=Q4_0"}, "ffn");
  expect_refused({"ffn=I32"}, "I32");
  EXPECT_TRUE(fixed_types({.fix = {"ffn_dwon ?= Q8_0"}}, source, /*has_imatrix=*/false).empty());
  EXPECT_THAT(test::error_of([] { SteeringOptions{.simple = -1}.check(); }), HasSubstr("--simple"));
  EXPECT_THAT(test::error_of([] { SteeringOptions{.fix = {"x"}}.check(); }), HasSubstr("--fix"));
}

TEST(Steering, GatesAreFoundWithTheirUps) {
  using Pair = std::vector<std::string>;
  const auto blk = [](int i, const std::string& what) { return "blk." + std::to_string(i) + "." + what + ".weight"; };
  EXPECT_THAT(gates_with_ups(open("deepseek3").tensors()),
              testing::UnorderedElementsAre(Pair{blk(0, "ffn_gate"), blk(0, "ffn_up")},
                                            Pair{blk(1, "ffn_gate_exps"), blk(1, "ffn_up_exps")},
                                            Pair{blk(1, "ffn_gate_shexp"), blk(1, "ffn_up_shexp")},
                                            Pair{blk(2, "ffn_gate_exps"), blk(2, "ffn_up_exps")},
                                            Pair{blk(2, "ffn_gate_shexp"), blk(2, "ffn_up_shexp")}));
}

TEST(Steering, TiedTensorsGetOneType) {
  const gguf::Reader source = open("deepseek3");
  ChoiceProblem problem = made_up_problem(source, 2);
  const auto ties = gates_with_ups(source.tensors());
  int n_apart = 0;
  for (const double part : {0.2, 0.4, 0.6, 0.8}) {
    for (const bool is_tied : {false, true}) {
      problem.ties = is_tied ? ties : std::vector<std::vector<std::string>>();
      const Choice choice = bits_budget(source, bpw(source, problem, part))->choose(problem);
      for (const std::vector<std::string>& tie : ties) {
        const bool is_apart = choice.types.at(tie[0]) != choice.types.at(tie[1]);
        EXPECT_FALSE(is_tied && is_apart) << tie[0];
        n_apart += is_apart ? 1 : 0;
      }
    }
  }
  EXPECT_GT(n_apart, 0);
  // A tie holds where one of its tensors is fixed, and says so where it cannot.
  const formats::Type type = formats::find_format("Q5_0")->type;
  problem = made_up_problem(source, 2, {{"blk.1.ffn_gate_exps.weight", type}});
  problem.ties = ties;
  const Choice choice = bits_budget(source, bpw(source, problem, 0.5))->choose(problem);
  EXPECT_EQ(choice.types.at("blk.1.ffn_up_exps.weight"), type);
  problem = made_up_problem(source, 2, {{"blk.1.ffn_gate_exps.weight", formats::find_format("Q4_1")->type}});
  problem.ties = ties;
  EXPECT_THAT(test::error_of([&] { bits_budget(source, bpw(source, problem, 0.5))->choose(problem); }),
              HasSubstr("no type in common"));
}

TEST(Steering, FewRulesAndWhatTheyCost) {
  const gguf::Reader source = open("deepseek3");
  ChoiceProblem problem = made_up_problem(source, 3);
  const double bits = bpw(source, problem, 0.5);
  const Choice best = bits_budget(source, bits)->choose(problem);
  double least = best.divergence;
  for (const int64_t limit : {5, 3, 2}) {
    problem.max_rules = limit;
    const Choice choice = bits_budget(source, bits)->choose(problem);
    ASSERT_TRUE(choice.limit.has_value());
    EXPECT_EQ(choice.limit->max_rules, limit);
    EXPECT_GT(choice.limit->rules_without, limit);
    EXPECT_DOUBLE_EQ(choice.limit->divergence_without, best.divergence);
    EXPECT_DOUBLE_EQ(choice.limit->divergence, choice.divergence);
    EXPECT_GE(choice.divergence, least) << limit;
    least = choice.divergence;
    EXPECT_LE(static_cast<int64_t>(plan::Plan::parse(choice.text, "found").rules().size()) + 1, limit);
    EXPECT_EQ(static_cast<int64_t>(plan::Plan::parse(choice.text, "found").rules().size()) + 1, choice.limit->rules);
    EXPECT_LE(resolve_text(source, choice.text).bits_per_weight, bits);
  }
  // Fixed types are rules as well.
  problem = made_up_problem(
      source, 3,
      fixed_types({.fix = {"ffn_up=Q4_1", "attn_q_a=Q8_0", "ffn_down=Q5_1"}}, source, /*has_imatrix=*/false));
  problem.max_rules = 2;
  EXPECT_THAT(test::error_of([&] { bits_budget(source, bits)->choose(problem); }),
              HasSubstr("no plan of at most 2 rules"));
}

TEST(Steering, TiesAndFewRulesTogether) {
  const gguf::Reader source = open("deepseek3");
  ChoiceProblem problem =
      made_up_problem(source, 4, fixed_types({.fix = {"^output=Q8_0"}}, source, /*has_imatrix=*/false));
  problem.ties = gates_with_ups(source.tensors());
  problem.max_rules = 6;
  const Choice choice = bits_budget(source, bpw(source, problem, 0.5))->choose(problem);
  for (const std::vector<std::string>& tie : problem.ties) EXPECT_EQ(choice.types.at(tie[0]), choice.types.at(tie[1]));
  EXPECT_LE(plan::Plan::parse(choice.text, "found").rules().size() + 1, 6u);
  EXPECT_EQ(choice.types.at("output.weight"), formats::find_format("Q8_0")->type);
}

}  // namespace
}  // namespace steelyard::jobs
