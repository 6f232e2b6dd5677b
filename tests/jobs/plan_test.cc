// What a plan makes of a model, as a job: rows, totals, findings, and what is refused.
#include "jobs/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "error_of.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kModel = test::golden("imatrix/deepseek2_k256/model.gguf");

std::string error_of(const PlanOptions& options) {
  return test::error_of([&] { plan(options); });
}

const PlannedTensor& row(const PlanResult& result, const std::string& name) {
  return *std::ranges::find(result.tensors, name, &PlannedTensor::name);
}

TEST(PlanJob, RowsSayWhatATensorGetsAndWhy) {
  const PlanResult result = plan({.model = kModel, .source = {.type = "Q8_0", .tensor_type = {"attn_k_b=Q4_K"}}});
  const PlannedTensor& output = row(result, "output.weight");
  EXPECT_EQ(output.type, "Q8_0");
  EXPECT_EQ(output.source_type, "F32");
  EXPECT_EQ(output.shape, (std::vector<int64_t>{256, 272}));
  EXPECT_EQ(output.bytes, 256 * 272 / 32 * 34u);
  EXPECT_EQ(output.kept, "");
  const PlannedTensor& fallback = row(result, "blk.0.attn_k_b.weight");
  EXPECT_EQ(fallback.type, "Q5_0");
  EXPECT_EQ(fallback.wanted_type, "Q4_K");
  EXPECT_EQ(fallback.rule, "command line `attn_k_b`");
  EXPECT_EQ(row(result, "blk.0.attn_norm.weight").kept, "norm");
}

TEST(PlanJob, TotalsAddUp) {
  const PlanResult result = plan({.model = kModel, .source = {.preset = "Q4_K_M"}});
  uint64_t bytes = 0, tensors = 0, elements = 0, previous = UINT64_MAX;
  for (const PlannedType& type : result.types) {
    bytes += type.bytes;
    tensors += type.tensors;
    elements += type.elements;
    EXPECT_LE(type.bytes, previous);
    previous = type.bytes;
  }
  EXPECT_EQ(bytes, result.total_bytes);
  EXPECT_EQ(tensors, result.tensors.size());
  EXPECT_EQ(elements, result.n_elements);
  EXPECT_DOUBLE_EQ(result.bits_per_weight, 8.0 * static_cast<double>(bytes) / static_cast<double>(elements));
}

// Found before the file is made, and not when it does not load.
TEST(PlanJob, IncompleteModels) {
  const auto findings_of = [](test::ModelCopy& copy) {
    const test::TempFolder folder;
    copy.save(folder / "copy.gguf");
    std::string all;
    for (const PlanFinding& finding : plan({.model = folder / "copy.gguf", .source = {.type = "Q8_0"}}).findings) {
      all += finding.severity + ": " + finding.what + ":";
      for (const std::string& subject : finding.subjects) all += " " + subject;
      all += "\n";
    }
    return all;
  };
  const std::string golden = test::golden("models/llama/model.gguf");
  test::ModelCopy copy(golden);
  EXPECT_THAT(findings_of(copy), Not(HasSubstr("llama")));
  copy.remove("blk.1.ffn_down.weight");
  EXPECT_THAT(findings_of(copy), HasSubstr("warning: missing, and llama models need it: blk.1.ffn_down.weight"));
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"})
    copy.metadata.erase(key);
  EXPECT_THAT(findings_of(copy), HasSubstr("llama models need it: blk.1.ffn_down.weight\n"));
  copy.metadata.set_string("general.type", "adapter");
  EXPECT_THAT(findings_of(copy), Not(HasSubstr("missing")));
  copy.metadata.set_string("general.type", "model");
  copy.metadata.erase("llama.embedding_length");
  EXPECT_THAT(findings_of(copy), HasSubstr("note: whether tensors are missing is not known"));
  copy.metadata.set_string("general.architecture", "of-my-own");
  EXPECT_THAT(findings_of(copy), Not(HasSubstr("missing")));
  const PlanOptions strict{.model = golden, .source = {.type = "Q8_0"}, .strict = true};
  EXPECT_EQ(error_of(strict), "");
}

TEST(PlanJob, AnyCaseOfCopy) {
  for (const char* copy : {"copy", "COPY", "Copy"}) {
    EXPECT_EQ(plan({.model = kModel, .source = {.type = copy}}).types.size(), 1u) << copy;
  }
}

TEST(PlanJob, GoesToJsonAndBack) {
  const PlanResult result = plan({.model = kModel, .source = {.type = "Q4_K", .tensor_type = {"atn=Q8_0"}}});
  ASSERT_FALSE(result.findings.empty());
  PlanResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
  EXPECT_EQ(read.findings[0].severity, "warning");

  PlanOptions options;
  read_json(Json::parse(R"({"model": "m", "preset": "Q4_K_M", "tensor_type": ["a=Q8_0"], "strict": true})"), options,
            "");
  EXPECT_EQ(options.source.preset, "Q4_K_M");
  EXPECT_EQ(options.source.tensor_type, (std::vector<std::string>{"a=Q8_0"}));
  EXPECT_TRUE(options.strict);
  EXPECT_THROW(read_json(Json::parse(R"({"presett": "Q4_K_M"})"), options, ""), Error);
}

// Whoever asks for strictness still sees what was decided.
TEST(PlanJob, StrictlyEveryWarningIsAnErrorAfterThePlan) {
  const PlanOptions options{.model = kModel, .source = {.type = "Q4_K", .tensor_type = {"atn=Q8_0"}}, .strict = true};
  EXPECT_THAT(error_of(options), HasSubstr("rule matches no tensor: command line `atn`"));
  PlanResult seen;
  EXPECT_THROW(plan(options, [&](const Progress& progress) { read_json(progress.data, seen, "test"); }), Error);
  EXPECT_FALSE(seen.tensors.empty());
}

TEST(PlanJob, RefusesWhatNamesNoPlan) {
  EXPECT_THAT(error_of({.model = kModel}), HasSubstr("give one of"));
  EXPECT_THAT(error_of({.model = kModel, .source = {.type = "Q8_0", .preset = "Q8_0"}}), HasSubstr("give one of"));
  EXPECT_THAT(error_of({.model = kModel, .source = {.type = "Q9_Z"}}), HasSubstr("unknown; there are:"));
  EXPECT_THAT(error_of({.model = kModel, .source = {.type = "Q8_0"}, .imatrix = kModel}), HasSubstr(kModel));
}

}  // namespace
}  // namespace steelyard::jobs
