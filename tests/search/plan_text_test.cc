// plan_text() checks itself that its text gives the types asked for. These tests make it do so on many models, and look
// at what is written.
#include "search/plan_text.h"

#include <gmock/gmock.h>

#include "plan/resolve.h"
#include "search/models.h"
#include "search/rules.h"
#include "search/simplify.h"

namespace steelyard::search {
namespace {

using formats::Type;

gguf::TensorInfo tensor(const std::string& name, int64_t row = 256, int64_t rows = 64) {
  gguf::TensorInfo info{.name = name, .n_dims = 2, .ne = {row, rows, 1, 1}, .type = Type::BF16};
  info.n_bytes = static_cast<uint64_t>(2 * row * rows);
  return info;
}

Tensors small_model() {
  Tensors tensors = {tensor("token_embd.weight"), tensor("output.weight"), tensor("output_norm.weight", 256, 1)};
  for (int layer = 0; layer < 6; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    for (const char* kind : {"attn_q", "attn_k", "attn_output", "ffn_gate_inp"}) {
      tensors.push_back(tensor(block + kind + ".weight"));
    }
    // The first layer is dense.
    for (const char* kind : {"ffn_gate", "ffn_up"}) {
      tensors.push_back(tensor(block + kind + (layer == 0 ? "" : "_exps") + ".weight", 256, layer == 0 ? 64 : 640));
    }
  }
  return tensors;
}

// The lines that are rules.
std::vector<std::string> rule_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

// Whether the text gives these types, seen from outside.
void expect_types(const Tensors& tensors, const std::string& text, const Types& types) {
  const plan::Resolution resolution = plan::resolve(plan::Plan::parse(text, "text"), tensors);
  for (const plan::Decision& decision : resolution.decisions) {
    const auto wanted = types.find(decision.tensor->name);
    if (plan::protection(*decision.tensor) || wanted == types.end()) {
      EXPECT_EQ(decision.type, decision.tensor->type) << decision.tensor->name;
    } else {
      EXPECT_EQ(decision.type, plan::storable(wanted->second, *decision.tensor)) << decision.tensor->name;
    }
  }
  EXPECT_TRUE(resolution.unused.empty());
}

TEST(PlanText, HasBandsThenKindsThenTheBase) {
  const Tensors tensors = small_model();
  Types types;
  for (const gguf::TensorInfo& t : tensors) {
    if (plan::protection(t)) continue;
    const bool is_first = t.name.starts_with("blk.0.") || t.name.starts_with("blk.1.");
    const bool is_attention = t.name.find("attn") != std::string::npos;
    types[t.name] = !t.name.starts_with("blk.")                               ? Type::Q6_K
                    : t.name.find("exps") != std::string::npos                ? (is_first ? Type::IQ3_S : Type::IQ2_S)
                    : is_attention && t.name.find("_q.") != std::string::npos ? Type::Q4_K
                    : is_attention                                            ? (is_first ? Type::Q5_K : Type::Q4_K)
                                                                              : Type::Q4_K;
  }
  const std::string text = plan_text(tensors, types);
  // ffn_*_exps of layer 1 come before the rule for all layers, which decides more.
  EXPECT_EQ(rule_lines(text), (std::vector<std::string>{
                                  "blk.{1}.ffn_(gate|up)_exps.weight = IQ3_S",
                                  "blk.{:}.ffn_(gate|up)_exps.weight = IQ2_S",
                                  "blk.{0-1}.attn_(k|output).weight = Q5_K",
                                  "^(output|token_embd).weight = Q6_K",
                                  "* = Q4_K",
                              }));
  EXPECT_EQ(rule_lines(text).size(), count_rules(tensors, types));
  expect_types(tensors, text, types);
}

TEST(PlanText, CommentsSayWhatARuleDecides) {
  const Tensors tensors = small_model();
  Types types;
  PlanNotes notes{.head = "For a test.\n\nTwo\x01paragraphs.", .losses = {}, .comment = {}};
  for (const gguf::TensorInfo& t : tensors) {
    if (plan::protection(t)) continue;
    types[t.name] = t.name.starts_with("blk.") ? Type::Q8_0 : Type::Q4_0;
    notes.losses[t.name] = 0.25;
  }
  notes.comment = [](const std::vector<std::string>& names) { return names.size() == 2 ? "both\nends" : ""; };
  std::string text = plan_text(tensors, types, notes);
  EXPECT_THAT(text, testing::StartsWith("# For a test.\n#\n# Two\\x01paragraphs.\n\n# All rules: 32 tensors, "));
  EXPECT_THAT(text, testing::HasSubstr("# 2 tensors, 18.00 KiB ("));
  EXPECT_THAT(text, testing::HasSubstr(", loss 0.5: both\\x0aends\n^(output|token_embd).weight = Q4_0\n"));
  EXPECT_THAT(text, testing::HasSubstr(", loss 7.5\n* = Q8_0\n"));
  notes.losses.erase("output.weight");
  text = plan_text(tensors, types, notes);
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("loss 0.25"))) << "a part of a sum";
}

TEST(PlanText, FallbacksAreWrittenAsWhatTheyGive) {
  const Tensors tensors = {tensor("blk.0.attn_k_b.weight", 192), tensor("blk.0.attn_v_b.weight")};
  const std::string text =
      plan_text(tensors, {{"blk.0.attn_k_b.weight", Type::Q4_K}, {"blk.0.attn_v_b.weight", Type::Q4_K}});
  for (const plan::Decision& d : plan::resolve(plan::Plan::parse(text, "t"), tensors).decisions) {
    EXPECT_FALSE(d.is_fallback()) << d.tensor->name;
  }
}

// Experts that were published in MXFP4 are left alone by a base, so what is to be larger needs a rule.
TEST(PlanText, TensorsAsTheyWerePublished) {
  Tensors tensors = small_model();
  for (gguf::TensorInfo& t : tensors) {
    if (!t.name.ends_with("_exps.weight")) continue;
    t.type = Type::MXFP4;
    t.n_bytes = gguf::tensor_bytes(format(t.type), t.ne).value();
  }
  for (const Type type : {Type::Q8_0, Type::Q4_K, Type::Q2_K, Type::MXFP4}) {
    Types types;
    for (const gguf::TensorInfo& t : tensors) types[t.name] = type;
    expect_types(tensors, plan_text(tensors, types), types);
  }
}

TEST(PlanText, NamesThatContainEachOtherOrMeanSomethingInAPattern) {
  const Tensors tensors = {tensor("enc.blk.0.attn_q.weight"), tensor("blk.0.attn_q.weight"),
                           tensor("blk.00.attn_q.weight"),    tensor("blk.1.attn_q.weight"),
                           tensor("a b{2}=#|weight"),         tensor("output.weight"),
                           tensor("output.weight.weight"),    tensor("outputsweight")};
  const Type kTypes[] = {Type::Q4_0, Type::Q5_0, Type::Q8_0, Type::Q4_K};
  Random random(4);
  for (int round = 0; round < 50; ++round) {
    Types types;
    for (const gguf::TensorInfo& t : tensors) types[t.name] = kTypes[random.below(4)];
    expect_types(tensors, plan_text(tensors, types), types);
  }
}

TEST(PlanText, AModelWithoutMatricesAndTensorsWithoutAType) {
  EXPECT_EQ(rule_lines(plan_text({}, {})), std::vector<std::string>{"* = keep"});
  const Tensors tensors = small_model();
  EXPECT_EQ(rule_lines(plan_text(tensors, {})), std::vector<std::string>{"* = BF16"});
  EXPECT_DEATH(plan_text(tensors, {{"nothing.weight", Type::Q4_0}}), "internal check failed");
}

void expect_round_trips(const std::string& path, int n_rounds) {
  SCOPED_TRACE(path);
  const Tensors tensors = read_tensors(path);
  const auto formats = targets();
  Random random(5);
  for (int round = 0; round < n_rounds; ++round) {
    // From two types to all of them, from stretches of layers to a new type for every tensor.
    const int64_t n_types = 2 + random.below(static_cast<int64_t>(formats.size()) - 1);
    const int64_t stretch = 1 + random.below(8);
    Types types;
    std::map<std::string, std::pair<int64_t, Type>> last;
    for (const gguf::TensorInfo& t : tensors) {
      if (plan::protection(t)) continue;
      const auto block = gguf::block_name(t.name);
      auto& [left, type] = last[block ? t.name.substr(block->end) : t.name];
      if (left-- <= 0) {
        left = random.below(stretch);
        type = round % 4 == 3 && random.below(9) == 0 ? Type::F32
                                                      : formats[static_cast<size_t>(random.below(n_types))]->type;
      }
      types[t.name] = type;
    }
    const std::string text = plan_text(tensors, types);
    expect_types(tensors, text, types);
    EXPECT_EQ(rule_lines(text).size(), count_rules(tensors, types));
  }
}

TEST(PlanText, RoundTripsOnGoldenModels) {
  const std::vector<std::string> paths = golden_models();
  EXPECT_GT(paths.size(), 10u);
  for (const std::string& path : paths) expect_round_trips(path, 12);
}

TEST(PlanText, RoundTripsOnRealHeaders) {
  const std::vector<std::string> paths = real_headers();
  if (paths.empty()) GTEST_SKIP() << test::shared("skeletons") << " is absent";
  for (const std::string& path : paths) expect_round_trips(path, 4);
}

}  // namespace
}  // namespace steelyard::search
