// DeepSeek V4 written in other ways than the goldens, and what of it is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf/reader.h"
#include "model/architecture.h"
#include "model/changed_model.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

// Other products of the same numbers: logits have a standard deviation of 2.5.
constexpr double kTolerance = 3e-5;

TEST(Deepseek4, OutputGroupsMayBeOneMatrix) {
  ChangedModel model("deepseek4");
  const std::vector<float> expected = model.logits();
  for (int i = 0; i < 3; ++i) {
    const std::string name = block(i, "attn_output_a.weight");
    model.put(name, {64, 32, 1, 1}, model.values(name));
  }
  for (const char* const backend : {"ref", "cpu"}) EXPECT_LE(distance(model.logits(backend), expected), kTolerance);
}

TEST(Deepseek4, LimitsByBlockAndOfSharedExperts) {
  ChangedModel model("deepseek4");
  const std::vector<float> expected = model.logits();
  model.set_real("swiglu_clamp_shexp", 1.5f);  // what it is when it is absent
  EXPECT_EQ(model.logits(), expected);
  model.set_real("swiglu_clamp_shexp", 0.25f);
  EXPECT_GT(distance(model.logits(), expected), 1e-3);
  model.set_real("swiglu_clamp_shexp", 0);  // none
  EXPECT_GT(distance(model.logits(), expected), 1e-3);
  model.erase("swiglu_clamp_exp");
  EXPECT_THAT(model.error(), HasSubstr("deepseek4.swiglu_clamp_exp is missing"));
}

TEST(Deepseek4, WithoutTablesExpertsAreSelected) {
  ChangedModel model("deepseek4");
  const std::vector<float> expected = model.logits();
  model.set("hash_layer_count", 0);
  EXPECT_THAT(model.error(), HasSubstr("blk.0.exp_probs_b.bias is missing"));
  model.put("blk.0.exp_probs_b.bias", {4, 1, 1, 1}, {0, 0, 0, 0});
  EXPECT_THAT(model.error(), HasSubstr("blk.0.ffn_gate_tid2eid.weight"));  // nothing asks for it
  model.copy.remove("blk.0.ffn_gate_tid2eid.weight");
  const std::vector<float> selected = model.logits("ref");
  EXPECT_LE(distance(model.logits("ref", 7), selected), kTolerance);
  EXPECT_GT(distance(selected, expected), 1e-2);
}

TEST(Deepseek4, BlocksForPredictionAreNotRun) {
  ChangedModel model("deepseek4");
  const std::vector<float> expected = model.logits();
  model.set("block_count", 4);
  model.set("nextn_predict_layers", 1);
  model.set("attention.compress_ratios", std::vector<uint32_t>{0, 4, 128, 0});
  model.put("blk.3.nextn.eh_proj.weight", {128, 64, 1, 1}, std::vector<float>(128 * 64));
  model.put("blk.3.hc_head_fn.weight", {256, 4, 1, 1}, std::vector<float>(256 * 4));
  EXPECT_EQ(model.logits(), expected);
  model.put("blk.2.hc_head_fn.weight", {256, 4, 1, 1}, std::vector<float>(256 * 4));
  EXPECT_THAT(model.error(), HasSubstr("blk.2.hc_head_fn.weight"));
}

TEST(Deepseek4, WhatCannotBeIsRefused) {
  const auto error_with = [](const auto& change) {
    ChangedModel model("deepseek4");
    change(model);
    return model.error();
  };
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("expert_gating_func", 2); }), HasSubstr("expected 4"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.set("attention.compress_ratios", std::vector<uint32_t>{0, 3, 128});
              }),
              HasSubstr("compress_ratios holds 3"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.set("attention.compress_ratios", std::vector<uint32_t>{0, 4});
              }),
              HasSubstr("has 2 entries for 3 blocks"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("attention.output_group_count", 3); }), HasSubstr("a divisor of"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("attention.head_count_kv", 2); }), HasSubstr("expected 1"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("attention.indexer.key_length", 4); }),
              HasSubstr("at least rope.dimension_count"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("hyper_connection.count", 65); }), HasSubstr("at most 64"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("hyper_connection.sinkhorn_iterations", 0); }),
              HasSubstr("sinkhorn_iterations"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                const int32_t expert = 4;
                std::memcpy(m.copy.find("blk.0.ffn_gate_tid2eid.weight")->bytes.data() + 40, &expert, sizeof(expert));
              }),
              HasSubstr("ffn_gate_tid2eid.weight holds 4, expected 0 to 3"));
}

// Recent positions within the window, and an entry for each block.
TEST(Deepseek4, CachesHaveAWindowAndEntries) {
  const gguf::Reader reader(test::golden("models/deepseek4/model.gguf"));
  const ModelConfig config = read_config(reader.metadata());
  const auto backend = compute::make_backend("ref");
  const int64_t n = 4096, n_batch = 100, n_recent = 12 - 1 + n_batch;
  const int64_t entries[] = {0, n / 4, n / 128};
  for (size_t i = 0; i < 3; ++i) {
    const AttentionConfig& attention = config.layers[i].attention;
    const KvLayer kv = make_kv_layer(*backend, attention, cache_room(attention, n, n_batch));
    EXPECT_EQ(kv.n_recent, n_recent);
    EXPECT_EQ(kv.keys.rows, n_recent + entries[i]);
    EXPECT_EQ(kv.index_keys.rows, i == 1 ? entries[i] : 0);
  }
}

}  // namespace
}  // namespace steelyard::model
