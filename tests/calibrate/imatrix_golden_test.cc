// The collected importance matrix against llama-imatrix's (tests/golden/imatrix), on both backends.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/parallel.h"
#include "calibrate/collect.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::calibrate {
namespace {

struct Case {
  const char* model;
  const char* backend;
};

imatrix::Imatrix collect(const Case& which, bool with_output) {
  const std::string name = which.model;
  const gguf::Reader reader(test::golden((name.ends_with("_k256") ? "imatrix/" : "models/") + name + "/model.gguf"));
  const auto backend = compute::make_backend(which.backend);
  const model::Model model(reader, *backend);
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const std::string text = test::golden("imatrix/text.txt");
  const tokenizer::Chunks chunks(tokenize_file(tokenizer, text, false), 64, 8, chunk_bos(tokenizer), text);
  CollectOptions options;
  options.with_output = with_output;
  options.dataset = "text.txt";
  return collect_imatrix(model, chunks, options, [](auto...) {}).imatrix;
}

// Sums within 1e-5 of each row's maximum, counts exact.
void expect_same(const imatrix::Imatrix& ours, const imatrix::Imatrix& golden) {
  EXPECT_EQ(ours.chunk_count, golden.chunk_count);
  EXPECT_EQ(ours.chunk_size, golden.chunk_size);
  ASSERT_EQ(ours.entries.size(), golden.entries.size());
  for (const auto& [name, expected] : golden.entries) {
    ASSERT_TRUE(ours.entries.contains(name)) << name;
    const imatrix::ImatrixEntry& actual = ours.entries.at(name);
    ASSERT_EQ(actual.n_in, expected.n_in) << name;
    ASSERT_EQ(actual.n_expert, expected.n_expert) << name;
    EXPECT_EQ(actual.counts, expected.counts) << name;
    for (int64_t e = 0; e < expected.n_expert; ++e) {
      const auto row = expected.in_sum2.begin() + e * expected.n_in;
      const double tolerance = 1e-5 * *std::max_element(row, row + expected.n_in);
      for (int64_t i = 0; i < expected.n_in; ++i) {
        ASSERT_NEAR(actual.in_sum2[e * expected.n_in + i], row[i], tolerance) << name << " " << e << " " << i;
      }
    }
  }
}

class ImatrixGolden : public testing::TestWithParam<Case> {};

TEST_P(ImatrixGolden, SumsAndCounts) {
  const std::string folder = test::golden(std::string("imatrix/") + GetParam().model + "/");
  expect_same(collect(GetParam(), /*with_output=*/false), imatrix::Imatrix::load(folder + "imatrix.gguf"));
}

TEST_P(ImatrixGolden, WithOutput) {
  const std::string folder = test::golden(std::string("imatrix/") + GetParam().model + "/");
  expect_same(collect(GetParam(), /*with_output=*/true), imatrix::Imatrix::load(folder + "imatrix_with_output.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Models, ImatrixGolden,
                         testing::Values(Case{"deepseek2", "ref"}, Case{"deepseek2", "cpu"},
                                         Case{"deepseek2_k256", "ref"}, Case{"deepseek2_k256", "cpu"},
                                         Case{"qwen3moe", "ref"}, Case{"qwen3moe", "cpu"},
                                         Case{"qwen3moe_k256", "cpu"}),
                         [](const auto& each) { return std::string(each.param.model) + "_" + each.param.backend; });

// Sums have one owner and one order, and so have the products before them.
TEST(ImatrixCollector, SameSumsForAnyNumberOfThreads) {
  const Case which{"deepseek2_k256", "cpu"};
  set_thread_count(1);
  const imatrix::Imatrix one = collect(which, /*with_output=*/true);
  for (const int threads : {2, 5}) {
    set_thread_count(threads);
    const imatrix::Imatrix several = collect(which, /*with_output=*/true);
    for (const auto& [name, entry] : one.entries) {
      EXPECT_EQ(several.entries.at(name).in_sum2, entry.in_sum2) << name << ", " << threads << " threads";
    }
  }
}

// The tied token_embd of a model without output.weight is never collected.
TEST(ImatrixCollector, TiedOutputIsLeftOut) {
  const gguf::Reader reader(test::golden("models/llama_tied/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  std::vector<tokenizer::TokenId> ids(64);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<tokenizer::TokenId>(i * 7 % 256);
  const tokenizer::Chunks chunks(ids, 32, 0, std::nullopt, "ids");
  CollectOptions options;
  options.with_output = true;
  const imatrix::Imatrix imatrix = collect_imatrix(model, chunks, options, [](auto...) {}).imatrix;
  EXPECT_FALSE(imatrix.entries.contains("token_embd.weight"));
  EXPECT_FALSE(imatrix.entries.contains("output.weight"));
  ASSERT_TRUE(imatrix.entries.contains("blk.0.attn_q.weight"));
  EXPECT_EQ(imatrix.entries.at("blk.0.attn_q.weight").counts, std::vector<int64_t>{64});
}

}  // namespace
}  // namespace steelyard::calibrate
