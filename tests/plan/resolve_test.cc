// Plans applied to models: precedence, protection, fallbacks, totals, and rules that decide nothing.
#include "plan/resolve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "base/error.h"
#include "gguf/block_name.h"
#include "gguf/reader.h"
#include "growth.h"
#include "models.h"
#include "plan/findings.h"
#include "support.h"

namespace steelyard::plan {
namespace {

std::string plans_folder() { return std::string(STEELYARD_SOURCE_DIR) + "/plans"; }

Plan parse(std::string_view text) { return Plan::parse(text, "p.plan"); }

Decision decide(std::string_view text, const gguf::TensorInfo& info) {
  Decision decision = resolve(parse(text), std::span(&info, 1)).decisions[0];
  decision.tensor = nullptr;  // it would point into the caller's argument
  return decision;
}

std::vector<std::string> described(const Resolution& resolution) {
  std::vector<std::string> lines;
  for (const Finding& finding : findings(resolution)) lines.push_back(describe(finding));
  return lines;
}

gguf::TensorInfo matrix(const std::string& name, int64_t columns = 512) {
  return tensor(name, {columns, 8}, formats::Type::BF16);
}

TEST(Resolve, FirstMatchWinsAndSearchesAnywhere) {
  const Decision decision = decide("attn_q = Q8_0\nattn_ = Q4_K\n* = Q2_K", matrix("blk.3.attn_q.weight"));
  EXPECT_EQ(decision.type, formats::Type::Q8_0);
  EXPECT_EQ(decision.reason, Reason::kRule);
  EXPECT_EQ(decision.rule, "p.plan:1 `attn_q`");
  EXPECT_EQ(decision.bytes, 8u * 512 / 32 * 34);
  EXPECT_EQ(decide("ATTN_Q = Q8_0\nattn_ = Q4_K", matrix("blk.3.attn_q.weight")).type, formats::Type::Q4_K);
}

TEST(Resolve, BaseTakesTheRestAndWithoutItTensorsAreKept) {
  const Decision base = decide("x = Q8_0\n* = Q4_K", matrix("a.weight"));
  EXPECT_EQ(base.type, formats::Type::Q4_K);
  EXPECT_EQ(base.reason, Reason::kBase);
  EXPECT_EQ(base.rule, "p.plan:2 `*`");
  EXPECT_EQ(decide("* = Q4_K\na = Q8_0", matrix("a.weight")).type, formats::Type::Q8_0)
      << "the base is last wherever it stands";
  const Decision none = decide("x = Q8_0", matrix("a.weight"));
  EXPECT_EQ(none.type, formats::Type::BF16);
  EXPECT_EQ(none.reason, Reason::kNoRule);
  EXPECT_EQ(none.rule, "");
}

TEST(Resolve, RulesHoldWhateverTheBase) {
  for (const char* base : {"F16", "BF16", "F32", "keep", "Q4_K"}) {
    EXPECT_EQ(decide(std::string("a = IQ2_S\n* = ") + base, matrix("a.weight")).type, formats::Type::IQ2_S) << base;
  }
  EXPECT_EQ(decide("a = keep\n* = Q4_K", matrix("a.weight")).type, formats::Type::BF16);
}

TEST(Resolve, ProtectedTensorsStay) {
  const std::pair<gguf::TensorInfo, std::string> cases[] = {
      {tensor("blk.0.attn_norm.weight", {2048}, formats::Type::F32), "norm"},
      {tensor("blk.0.attn_q_norm.weight", {128, 32}, formats::Type::F32), "norm"},
      {tensor("blk.0.ffn_gate_inp.weight", {2048, 64}, formats::Type::F32), "router"},
      {tensor("blk.0.ffn_gate_inp_shexp.weight", {2048, 1}, formats::Type::F32), "one row"},
      {tensor("blk.0.attn_sinks.weight", {64}, formats::Type::F16), "one row"},
      {tensor("blk.0.ssm_conv1d.weight", {4, 8192}, formats::Type::F32), "convolution"},
      {tensor("blk.0.attn_q.bias", {2048}, formats::Type::F32), "not a weight"},
      {tensor("blk.0.ssm_a", {32, 64}, formats::Type::F32), "not a weight"},
      {tensor("ids.weight", {32, 64}, formats::Type::I32), "integers"},
  };
  for (const auto& [info, why] : cases) {
    for (const char* plan : {"* = Q8_0", "* = F16", ". = Q8_0", ". = BF16"}) {
      const Decision decision = decide(plan, info);
      EXPECT_EQ(decision.type, info.type) << info.name << " under " << plan;
      EXPECT_EQ(decision.reason, Reason::kProtected) << info.name;
      EXPECT_EQ(decision.protection, why) << info.name;
    }
  }
}

TEST(Resolve, OnlyARuleForF32ReachesProtectedTensors) {
  const auto norm = tensor("blk.0.attn_norm.weight", {2048}, formats::Type::BF16);
  const Decision decision = decide("attn_norm = F32\n* = Q4_K", norm);
  EXPECT_EQ(decision.type, formats::Type::F32);
  EXPECT_EQ(decision.reason, Reason::kRule);
  EXPECT_EQ(decide("* = F32", norm).type, formats::Type::BF16);
  EXPECT_EQ(decide(". = F32", tensor("x.weight", {32, 2}, formats::Type::I32)).type, formats::Type::I32);
}

TEST(Resolve, FallsBackUntilRowsDivide) {
  const Decision once = decide("* = Q4_K", matrix("blk.0.attn_k_b.weight", 192));
  EXPECT_EQ(once.type, formats::Type::Q5_0);
  EXPECT_EQ(once.wanted, formats::Type::Q4_K);
  EXPECT_TRUE(once.is_fallback());
  EXPECT_EQ(once.bytes, 8u * 192 / 32 * 22);
  for (const char* type : {"Q2_K", "Q6_K", "IQ2_S", "Q8_0", "MXFP4", "TQ1_0"}) {
    const Decision decision = decide(std::string("* = ") + type, matrix("a.weight", 100));
    EXPECT_EQ(decision.type, formats::Type::F16) << type;
    EXPECT_EQ(decision.bytes, 1600u);
  }
  EXPECT_FALSE(decide("* = Q4_K", matrix("a.weight", 256)).is_fallback());
}

TEST(Resolve, LayerSetsFollowTheModel) {
  std::vector<gguf::TensorInfo> tensors;
  for (int layer = 0; layer < 16; ++layer) tensors.push_back(matrix("blk." + std::to_string(layer) + ".ffn_up.weight"));
  tensors.push_back(matrix("blk.x.ffn_up.weight"));
  const Resolution resolution = resolve(parse("blk.{1, 7/8:}.ffn = Q8_0\nblk\\.{1-3} = Q6_K\n* = Q4_K"), tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const formats::Type expected = i == 1 || i == 14 || i == 15 ? formats::Type::Q8_0
                                   : i == 2 || i == 3           ? formats::Type::Q6_K
                                                                : formats::Type::Q4_K;
    EXPECT_EQ(resolution.decisions[i].type, expected) << tensors[i].name;
  }
}

TEST(Resolve, ConditionsAskForImatrixAndTiedEmbedding) {
  const Plan plan =
      parse("token = Q6_K if tied\nup = Q4_1 if imatrix\nup = Q5_1 if not imatrix\ntoken = Q5_K if not tied\n* = Q4_0");
  std::vector<gguf::TensorInfo> tensors = {matrix("token_embd.weight"), matrix("blk.0.ffn_up.weight")};
  EXPECT_EQ(resolve(plan, tensors).decisions[0].type, formats::Type::Q6_K);
  EXPECT_EQ(resolve(plan, tensors).decisions[1].type, formats::Type::Q5_1);
  EXPECT_EQ(resolve(plan, tensors, {.imatrix = true}).decisions[1].type, formats::Type::Q4_1);
  tensors.push_back(matrix("output.weight"));
  const Resolution untied = resolve(plan, tensors);
  EXPECT_EQ(untied.decisions[0].type, formats::Type::Q5_K);
  EXPECT_TRUE(untied.unused.empty()) << "a rule whose condition does not hold is not reported";
}

TEST(Resolve, ConditionsAskForTheModelsFacts) {
  const gguf::TensorInfo info = matrix("blk.0.attn_v.weight");
  const Plan plan = parse("attn_v = Q8_0 if gqa >= 4 and not imatrix\nattn_v = Q6_K if experts == 8\n* = Q4_K");
  const auto pick = [&](const Facts& facts) { return resolve(plan, std::span(&info, 1), facts).decisions[0].type; };
  EXPECT_EQ(pick({.gqa = 4}), formats::Type::Q8_0);
  EXPECT_EQ(pick({.gqa = 3}), formats::Type::Q4_K);
  EXPECT_EQ(pick({.imatrix = true, .gqa = 8}), formats::Type::Q4_K);
  EXPECT_EQ(pick({.imatrix = true, .gqa = 8, .experts = 8}), formats::Type::Q6_K);
}

// The index counts the tensors that the pattern matches, by layer and then by name. Other rules that take them, and
// their places in the file, do not matter. Fractions are of the number of layers.
TEST(Resolve, IndexCountsTheTensorsThatThePatternMatches) {
  std::vector<gguf::TensorInfo> tensors = {matrix("blk.0.ffn_down.weight"),
                                           tensor("blk.1.ffn_down_norm.weight", {512}, formats::Type::F32)};
  for (const char* layer : {"blk.10", "blk.2", "blk.1", "blk.11"}) {
    tensors.push_back(matrix(std::string(layer) + ".ffn_down_shexp.weight"));
    tensors.push_back(matrix(std::string(layer) + ".ffn_down_exps.weight"));
  }
  const auto taken = [&](std::string_view text) {
    std::set<std::string> names;
    for (const Decision& decision : resolve(parse(text), tensors).decisions) {
      if (decision.type == formats::Type::Q8_0) names.insert(decision.tensor->name);
    }
    return names;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(taken("ffn_down = Q8_0 if index in {:1/3}"),
            (Names{"blk.0.ffn_down.weight", "blk.1.ffn_down_exps.weight", "blk.1.ffn_down_shexp.weight",
                   "blk.2.ffn_down_exps.weight"}));
  EXPECT_EQ(taken("blk.0 = F16\nffn_down = Q8_0 if index in {0, 8}"), Names{"blk.11.ffn_down_shexp.weight"});
  EXPECT_EQ(taken("down_exps = Q8_0 if index in {2}"), Names{"blk.10.ffn_down_exps.weight"});
  EXPECT_EQ(taken("down = Q8_0 if index in {0} and imatrix"), Names{});
}

// As index, but a fraction is of the tensors that are counted: an eighth of those that have values of their own.
TEST(Resolve, PlaceIsAFractionOfTheTensors) {
  std::vector<gguf::TensorInfo> tensors;
  for (int layer = 0; layer < 16; ++layer) {
    tensors.push_back(matrix(fmt::format("blk.{}.attn_q.weight", layer)));
    if (layer % 2 == 1) tensors.push_back(matrix(fmt::format("blk.{}.attn_v.weight", layer)));
  }
  const auto taken = [&](std::string_view condition) {
    std::vector<int64_t> blocks;
    const Plan plan = parse(fmt::format("attn_v = Q8_0 if {}\n* = Q4_K", condition));
    for (const Decision& decision : resolve(plan, tensors).decisions) {
      if (decision.type == formats::Type::Q8_0) blocks.push_back(gguf::block_of(decision.tensor->name).value());
    }
    return blocks;
  };
  EXPECT_EQ(taken("place in {:1/4}"), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(taken("place in {7/8:}"), (std::vector<int64_t>{15}));
  EXPECT_EQ(taken("place in {-1, 0}"), (std::vector<int64_t>{1, 15}));
  EXPECT_EQ(taken("index in {:1/4}"), (std::vector<int64_t>{1, 3, 5, 7})) << "a fourth of 16 layers are four";
}

TEST(Resolve, BlocksThatPredictAreToldByTheirTensors) {
  std::vector<gguf::TensorInfo> tensors;
  for (const char* name : {"blk.0.ffn_up.weight", "blk.1.ffn_up.weight", "blk.1.nextn.eh_proj.weight", "output.weight",
                           "blk.1.nextn.hnorm.weight", "nextn.weight", "blk.2.ffn_up.weight"}) {
    tensors.push_back(matrix(name));
  }
  const auto taken = [&](std::string_view text) {
    std::string names;
    for (const Decision& decision : resolve(parse(text), tensors).decisions) {
      if (decision.type == formats::Type::Q8_0) names += decision.tensor->name + " ";
    }
    return names;
  };
  EXPECT_EQ(taken("^blk = Q8_0 if nextn"), "blk.1.ffn_up.weight blk.1.nextn.eh_proj.weight blk.1.nextn.hnorm.weight ");
  EXPECT_EQ(taken("up = Q8_0 if not nextn"), "blk.0.ffn_up.weight blk.2.ffn_up.weight ");
  tensors.resize(1);
  EXPECT_EQ(taken("up = Q8_0 if not nextn"), "blk.0.ffn_up.weight ");
  EXPECT_EQ(resolve(parse("up = Q8_0 if nextn"), tensors).unused.size(), 1u);
}

// Experts that are published in MXFP4 are exact. The base and rules that find what they find (?=) leave them alone,
// unless they get smaller or the whole file is to be without quantization. A rule that means them is obeyed.
TEST(Resolve, NativeTensorsAreKeptUnlessAskedFor) {
  const auto experts = tensor("blk.0.ffn_up_exps.weight", {512, 8, 4}, formats::find_format("MXFP4")->type);
  const std::pair<const char*, const char*> cases[] = {
      {"* = Q8_0", "MXFP4"},      {"* = Q4_K", "MXFP4"},
      {"* = IQ4_XS", "MXFP4"},    {"* = Q3_K", "Q3_K"},
      {"* = F16", "F16"},         {"_exps ?= Q6_K", "MXFP4"},
      {"_exps ?= Q2_K", "Q2_K"},  {"_exps = Q6_K", "Q6_K"},
      {"_exps = Q8_0", "Q8_0"},   {"up = keep\n* = Q8_0", "MXFP4"},
      {"_exps = MXFP4", "MXFP4"}, {"* = NVFP4", "MXFP4"},
  };
  for (const auto& [text, type] : cases) {
    const Decision decision = decide(text, experts);
    EXPECT_EQ(format(decision.type).name, type) << text;
    EXPECT_EQ(decision.bytes, gguf::tensor_bytes(format(decision.type), experts.ne)) << text;
    EXPECT_FALSE(decision.is_fallback()) << text;
  }
  EXPECT_EQ(decide("* = Q8_0", experts).reason, Reason::kNative);
  EXPECT_EQ(decide("* = Q8_0", experts).declined, formats::find_format("Q8_0")->type);
  EXPECT_EQ(decide("* = Q3_K", experts).declined, std::nullopt);
  // Other quantized sources have lost something already, so that nothing is worth keeping.
  EXPECT_EQ(format(decide("* = Q8_0", tensor("a.weight", {512, 8}, formats::find_format("Q4_0")->type)).type).name,
            "Q8_0");
}

TEST(Resolve, SaysWhatBecomesOfNativeTensors) {
  const auto experts = tensor("blk.0.ffn_up_exps.weight", {512, 8, 4}, formats::find_format("MXFP4")->type);
  const auto said = [&](std::string_view text) {
    std::string all;
    for (const std::string& line : described(resolve(parse(text), std::span(&experts, 1)))) all += line + "\n";
    return all;
  };
  EXPECT_EQ(said("_exps = Q8_0"),
            "Q8_0 makes it larger than in MXFP4, which has the weights as they were published: "
            "blk.0.ffn_up_exps.weight\n");
  EXPECT_EQ(said("_exps = Q3_K"), "");
  EXPECT_NE(said("* = Q4_K")
                .find("kept in MXFP4, which is no larger than Q4_K and has the weights as they were "
                      "published: blk.0.ffn_up_exps.weight\n"),
            std::string::npos);
}

TEST(Resolve, ReportsRulesThatDecideNothing) {
  const std::vector<gguf::TensorInfo> tensors = {matrix("blk.0.attn_q.weight"), matrix("blk.0.ffn_up.weight"),
                                                 tensor("blk.0.attn_norm.weight", {512}, formats::Type::F32)};
  const Resolution resolution = resolve(
      parse(
          "attn_q = Q8_0\nattn_[qz] = Q6_K\nffn_dwon = Q6_K\nattn_norm = Q4_K\nblk.{1} = F16\nmay_be ?= F16\n* = Q4_K"),
      tensors);
  ASSERT_EQ(resolution.unused.size(), 4u);
  EXPECT_EQ(resolution.unused[0].rule.line, 2);
  EXPECT_EQ(resolution.unused[0].shadowed_by, "p.plan:1 `attn_q`");
  EXPECT_EQ(resolution.unused[1].rule.line, 3);
  EXPECT_EQ(resolution.unused[1].shadowed_by, "");
  EXPECT_FALSE(resolution.unused[1].is_protected);
  EXPECT_TRUE(resolution.unused[2].is_protected);
  EXPECT_EQ(resolution.unused[3].rule.line, 5);
}

TEST(Resolve, NamesTheEarliestOfSeveralRulesInTheWay) {
  std::vector<gguf::TensorInfo> tensors = {matrix("b.weight"), matrix("a.weight")};
  for (int order = 0; order < 2; ++order) {
    const Resolution resolution = resolve(parse("a.w = F16\nb.w = F16\nweight = Q8_0"), tensors);
    ASSERT_EQ(resolution.unused.size(), 1u);
    EXPECT_EQ(resolution.unused[0].shadowed_by, "p.plan:1 `a.w`");
    std::swap(tensors[0], tensors[1]);
  }
}

TEST(Resolve, CommandLineRulesComeFirst) {
  Plan plan = parse("attn_q = Q8_0\n* = Q4_K");
  plan.prepend({Plan::parse_rule("attn=F16", "command line")});
  const gguf::TensorInfo info = matrix("blk.0.attn_q.weight");
  const Resolution resolution = resolve(plan, std::span(&info, 1));
  EXPECT_EQ(resolution.decisions[0].rule, "command line `attn`");
  ASSERT_EQ(resolution.unused.size(), 1u);
  EXPECT_EQ(resolution.unused[0].shadowed_by, "command line `attn`");
}

TEST(Resolve, RefusesSizesThatOverflow) {
  gguf::TensorInfo huge = matrix("a.weight");
  huge.ne = {int64_t{1} << 40, int64_t{1} << 22, 1, 1};
  EXPECT_THROW(resolve(Plan::uniform(formats::Type::F32), std::span(&huge, 1)), Error);
  EXPECT_NO_THROW(resolve(Plan::uniform(formats::Type::Q2_K), std::span(&huge, 1)));
  const std::vector<gguf::TensorInfo> many(8, huge);
  EXPECT_THROW(resolve(Plan::uniform(formats::Type::Q2_K), many), Error);
}

TEST(Resolve, OfNothingIsNothing) {
  const Resolution resolution = resolve(Plan::uniform(formats::Type::Q4_K), {});
  EXPECT_EQ(resolution.total_bytes, 0u);
  EXPECT_EQ(resolution.bits_per_weight, 0);
}

TEST(Resolve, DoesNotDependOnTheOrderOfTensors) {
  const Model model = read_model("glm-4.7-flash");
  const Plan plan = Plan::preset(plans_folder(), "Q4_K_M");
  const Resolution straight = resolve(plan, model.tensors);
  std::map<std::string, formats::Type> types;
  for (const Decision& decision : straight.decisions) types[decision.tensor->name] = decision.type;

  std::vector<gguf::TensorInfo> shuffled = model.tensors;
  std::mt19937 random(3);
  for (int round = 0; round < 3; ++round) {
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const Resolution resolution = resolve(plan, shuffled);
    for (const Decision& decision : resolution.decisions) EXPECT_EQ(decision.type, types.at(decision.tensor->name));
    EXPECT_EQ(resolution.total_bytes, straight.total_bytes);
    EXPECT_EQ(described(resolution), described(straight));
  }
}

TEST(Resolve, TotalsAreTheSumsOfDecisions) {
  for (const char* name : kModels) {
    const Model model = read_model(name);
    const Resolution resolution = resolve(Plan::preset(plans_folder(), "Q3_K_M"), model.tensors);
    uint64_t bytes = 0;
    uint64_t elements = 0;
    for (const Decision& decision : resolution.decisions) {
      bytes += decision.bytes;
      elements += static_cast<uint64_t>(decision.tensor->n_elements());
      EXPECT_EQ(decision.bytes, gguf::tensor_bytes(format(decision.type), decision.tensor->ne));
    }
    EXPECT_EQ(resolution.total_bytes, bytes);
    EXPECT_EQ(resolution.n_elements, elements);
    EXPECT_DOUBLE_EQ(resolution.bits_per_weight, 8.0 * static_cast<double>(bytes) / static_cast<double>(elements));
  }
}

// The published plan: its size, its bits per weight and its fallbacks are known exactly.
void expect_published_plan(std::span<const gguf::TensorInfo> tensors) {
  const Resolution resolution = resolve(Plan::load(plans_folder() + "/glm-4.7-flash-asym-2bit.plan"), tensors);
  ASSERT_EQ(resolution.decisions.size(), 844u);
  EXPECT_EQ(resolution.total_bytes, 11'452'226'048u);
  EXPECT_EQ(resolution.n_elements, 29'943'393'920u);
  EXPECT_NEAR(resolution.bits_per_weight, 3.0597, 5e-5);
  EXPECT_TRUE(resolution.unused.empty());
  std::map<formats::Type, int> counts;
  for (const Decision& decision : resolution.decisions) {
    ++counts[decision.type];
    EXPECT_EQ(decision.is_fallback(), decision.tensor->name.ends_with("attn_k_b.weight"));
    EXPECT_NE(decision.reason, Reason::kBase) << decision.tensor->name;
  }
  EXPECT_EQ(counts, (std::map<formats::Type, int>{{formats::Type::IQ2_S, 92},
                                                  {formats::Type::IQ3_S, 46},
                                                  {formats::Type::Q4_K, 235},
                                                  {formats::Type::Q5_0, 47},
                                                  {formats::Type::Q6_K, 2 + 138 + 3},
                                                  {formats::Type::F32, 281}}));
}

TEST(Plans, PublishedGlmPlanHasThePublishedSize) { expect_published_plan(read_model("glm-4.7-flash").tensors); }

TEST(Plans, PublishedGlmPlanOnTheRealHeader) {
  const std::string path = test::shared("skeletons/glm-4.7-flash-bf16.header.gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  expect_published_plan(gguf::Reader(path, gguf::ReadMode::kHeader).tensors());
}

TEST(Plans, FactsOfTheRealHeaders) {
  int n_found = 0;
  for (const char* name : kModels) {
    const std::string path = test::shared(std::string("skeletons/") + name + "-bf16.header.gguf");
    if (!std::filesystem::exists(path)) continue;
    const Facts facts = model_facts(gguf::Reader(path, gguf::ReadMode::kHeader).metadata(), false);
    EXPECT_EQ(facts.gqa, read_model(name).facts.gqa) << name;
    EXPECT_EQ(facts.experts, read_model(name).facts.experts) << name;
    ++n_found;
  }
  if (n_found == 0) GTEST_SKIP() << "no skeletons in " << test::shared("skeletons");
}

std::set<int64_t> blocks_with_nextn(const Model& model) {
  std::set<int64_t> blocks;
  for (const gguf::TensorInfo& info : model.tensors) {
    if (info.name.find(".nextn.") != std::string::npos) blocks.insert(gguf::block_of(info.name).value());
  }
  return blocks;
}

// Every mix that llama.cpp has is a preset here, which picks the same type for every tensor of every model, with and
// without an importance matrix. Only blocks that predict further tokens get no fewer bits than Q4_K.
TEST(Plans, PresetsPickTheTypesPeopleKnow) {
  size_t compared = 0;
  int n_raised = 0;
  for (const char* name : kModels) {
    const Model model = read_model(name);
    const std::set<int64_t> predicting = blocks_with_nextn(model);
    for (const auto& [column, picks] : model.picks) {
      const std::string preset = column.substr(0, column.find('+'));
      const Plan plan = Plan::preset(plans_folder(), preset);
      // A column without "+imatrix" holds for both when there is none with it.
      std::vector<bool> with_imatrix = {column != preset};
      if (column == preset && !model.picks.contains(preset + "+imatrix")) with_imatrix.push_back(true);
      for (const bool imatrix : with_imatrix) {
        Facts facts = model.facts;
        facts.imatrix = imatrix;
        const Resolution resolution = resolve(plan, model.tensors, facts);
        int differ = 0;
        uint64_t bytes = 0;  // of what llama.cpp picks
        for (size_t i = 0; i < model.tensors.size(); ++i) {
          const gguf::TensorInfo& info = model.tensors[i];
          const formats::Type theirs = formats::find_format(picks[i])->type;
          const formats::Format& q4_k = *formats::find_format("Q4_K");
          bytes += gguf::tensor_bytes(format(theirs), info.ne).value();
          const std::string_view picked = format(resolution.decisions[i].type).name;
          std::string_view expected = picks[i];
          if (predicting.contains(gguf::block_of(info.name).value_or(-1))) {
            // Theirs may be the fallback of a type with few bits, which has enough.
            const std::string_view least = format(storable(q4_k.type, info)).name;
            const bool is_less =
                format(theirs).block_bytes * q4_k.block_len < q4_k.block_bytes * format(theirs).block_len;
            if (is_less || picked == least) expected = least;
            n_raised += is_less;
          }
          if (picked != expected && ++differ <= 3) {
            ADD_FAILURE() << name << " " << column << ": " << info.name << " is " << picked << ", expected "
                          << expected;
          }
        }
        EXPECT_EQ(differ, 0) << name << " " << column;
        EXPECT_TRUE(resolution.unused.empty()) << name << " " << column << ": " << described(resolution)[0];
        EXPECT_EQ(fmt::format("{:.2f}", static_cast<double>(bytes) / 1048576.0), model.mebibytes.at(column));
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, std::size(kModels) * 32 * 2) << "models x mixes x with and without imatrix";
  EXPECT_GT(n_raised, 0);
}

TEST(Plans, FewerSharedHeadsOrExpertsNeedLess) {
  const gguf::TensorInfo info = matrix("blk.3.attn_v.weight");
  const auto pick = [&](const char* preset, const Facts& facts) {
    return resolve(Plan::preset(plans_folder(), preset), std::span(&info, 1), facts).decisions[0].type;
  };
  EXPECT_EQ(pick("IQ2_XXS", {.imatrix = true, .gqa = 3, .experts = 3}), formats::Type::Q2_K);
  EXPECT_EQ(pick("IQ2_XXS", {.imatrix = true, .gqa = 3, .experts = 4}), formats::Type::Q4_K);
  EXPECT_EQ(pick("IQ2_M", {.imatrix = true, .gqa = 3}), formats::Type::IQ3_S);
  EXPECT_EQ(pick("Q2_K", {.gqa = 3, .experts = 64}), formats::Type::Q3_K);
  EXPECT_EQ(pick("Q2_K_S", {.gqa = 3}), formats::Type::Q2_K);
  EXPECT_EQ(pick("IQ3_XXS", {.gqa = 3}), formats::Type::IQ3_S);
  EXPECT_EQ(pick("IQ3_XXS", {.imatrix = true, .gqa = 3}), formats::Type::IQ3_XXS);
  EXPECT_EQ(pick("IQ3_XXS", {.imatrix = true, .gqa = 4}), formats::Type::Q4_K);
  EXPECT_EQ(pick("IQ4_XS", {.gqa = 3}), formats::Type::IQ4_XS);
  EXPECT_EQ(pick("Q6_K", {.experts = 8}), formats::Type::Q8_0);
  EXPECT_EQ(pick("IQ2_XXS", {.imatrix = true, .experts = 8}), formats::Type::Q4_K);
}

// All patterns are matched together. What each alone would match decides.
TEST(Resolve, PatternsTogetherMatchWhatEachDoes) {
  std::mt19937 random(4);
  const std::vector<std::string> patterns = {"attn",    "^blk",          "blk.{0,2:4}.attn_q", "blk\\.1\\.",
                                             "weight$", "q|k",           "blk.{:1/2}.f",       "(a|b)+_u",
                                             "\\d{2}",  "ffn_(up|gate)", "blk.{9}.x",          "[^k].w"};
  std::vector<gguf::TensorInfo> tensors;
  for (const char* part : {"attn_q", "attn_k", "ffn_up", "ffn_gate", "ffn_down"}) {
    for (int layer = 0; layer < 12; ++layer) tensors.push_back(matrix(fmt::format("blk.{}.{}.weight", layer, part)));
  }
  Layers layers;
  for (const gguf::TensorInfo& tensor : tensors) layers.add(tensor.name);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::string> some;
    std::ranges::sample(patterns, std::back_inserter(some), 1 + random() % 8, random);
    std::ranges::shuffle(some, random);
    std::string text;
    for (const std::string& pattern : some) text += pattern + " = Q8_0\n";
    const Plan plan = parse(text);
    const Resolution resolution = resolve(plan, tensors);
    for (const Decision& decision : resolution.decisions) {
      std::string expected;
      for (const PlanRule& rule : plan.rules()) {
        const auto regex = Pattern(rule.pattern, "").compile(layers);
        if (expected.empty() && RE2::PartialMatch(decision.tensor->name, *regex)) {
          expected = fmt::format("{} `{}`", rule.where(), rule.pattern);
        }
      }
      EXPECT_EQ(decision.rule, expected) << decision.tensor->name << "\n" << text;
    }
  }
}

// One number for both: a plan with a rule for each tensor of a model.
TEST(Resolve, TimeGrowsWithRulesAndTensors) {
  struct Case {
    Plan plan;
    std::vector<gguf::TensorInfo> tensors;
  };
  const double ratio = test::growth(
      400,
      [](size_t n) {
        std::string text;
        Case made;
        for (size_t i = 0; i < n; ++i) {
          made.tensors.push_back(matrix(fmt::format("blk.{}.ffn_up.weight", i)));
          text += fmt::format("blk\\.{}\\.ffn_up = Q8_0\n", n - 1 - i);
        }
        made.plan = parse(text);
        return made;
      },
      [](const Case& made) {
        const Resolution resolution = resolve(made.plan, made.tensors);
        EXPECT_TRUE(resolution.unused.empty());
        for (const Decision& decision : resolution.decisions) EXPECT_EQ(decision.reason, Reason::kRule);
      });
  EXPECT_LT(ratio, test::kAboutLinear);
}

TEST(Plan, TimeToPutRulesInFrontGrowsWithTheirNumber) {
  const auto rules = [](size_t n) {
    std::vector<PlanRule> made;
    for (size_t i = 0; i < n; ++i) made.push_back({.pattern = fmt::format("p{}", i), .type = formats::Type::F16});
    return made;
  };
  const double ratio = test::growth(1000, rules, [](const std::vector<PlanRule>& made) {
    Plan plan;
    plan.prepend(made);
    plan.prepend(made);
    EXPECT_EQ(plan.rules().size(), made.size());
    EXPECT_EQ(plan.rules()[0].replaces, "F16 in ");
  });
  EXPECT_LT(ratio, test::kAboutLinear);
}

TEST(Plan, HasLimits) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += fmt::format("p{}=F16\n", i);
  EXPECT_THROW(parse(text), Error);
  EXPECT_THROW(Plan::parse_rule_list(text, "a"), Error);
  EXPECT_THROW(parse(std::string(2 << 20, '\n')), Error);
  std::string set = "0";
  for (int i = 0; i < 5000; ++i) set += ",0";
  EXPECT_THROW(parse("blk.{" + set + "}.x = F16"), Error);
}

// Both factors of what an adapter adds to a weight are treated as the weight.
TEST(Resolve, MatricesOfAdaptersAreWeights) {
  const auto type_of = [](const std::string& name, const std::vector<int64_t>& shape) {
    const gguf::TensorInfo info = tensor(name, shape, formats::Type::F16);
    return std::string(format(resolve(Plan::parse("* = Q8_0", "p"), std::span(&info, 1)).decisions[0].type).name);
  };
  EXPECT_EQ(type_of("blk.0.attn_q.weight.lora_a", {256, 32}), "Q8_0");
  EXPECT_EQ(type_of("blk.0.attn_q.weight.lora_b", {32, 256}), "Q8_0");
  EXPECT_EQ(type_of("blk.0.attn_q.weight.lora_b", {8, 256}), "F16") << "rows do not divide into blocks";
  EXPECT_EQ(type_of("blk.0.ffn_gate_inp.weight.lora_a", {256, 32}), "F16") << "of a router";
  EXPECT_EQ(type_of("blk.0.attn_norm.weight.lora_a", {256, 32}), "F16") << "of a norm";
  EXPECT_EQ(type_of("blk.0.attn_q.bias.lora_a", {256, 32}), "F16") << "of no weight";
}

}  // namespace
}  // namespace steelyard::plan
