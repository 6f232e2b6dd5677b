// Qwen 4 as llama.cpp has it: hashes of grams, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "error_of.h"
#include "model/changed_model.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

void set_factors(ChangedModel& model, const std::vector<uint64_t>& values) {
  const auto type = static_cast<uint32_t>(gguf::ValueType::kUint64);
  const uint64_t n = values.size();
  std::string raw(reinterpret_cast<const char*>(&type), sizeof(type));
  raw.append(reinterpret_cast<const char*>(&n), sizeof(n));
  raw.append(reinterpret_cast<const char*>(values.data()), n * sizeof(uint64_t));
  model.copy.metadata.set({model.key("ple.layer_multipliers"), gguf::ValueType::kArray, raw});
}

// With 16 rows per head only the last four bits of a hash count, and factors of all 64 bits wrap.
TEST(Qwen4exp, HashesHave64Bits) {
  ChangedModel model("qwen4exp");
  model.set("ple.head_vocab_sizes", std::vector<uint32_t>{16, 16, 16, 16});
  const std::vector<float> expected = model.logits("ref");
  constexpr uint64_t kTop = uint64_t{1} << 63;
  set_factors(model, {1000003 + kTop, 7919 + (kTop >> 1), 104729 + kTop});
  EXPECT_EQ(model.logits("ref"), expected);
  set_factors(model, {1000003 + kTop + 1, 7919, 104729});
  EXPECT_GT(distance(model.logits("ref"), expected), 1e-3);
}

// Grams that reach to the end of a text or beyond it are as those at the beginning.
TEST(Qwen4exp, GramsEndWithTheText) {
  ChangedModel model("qwen4exp");
  for (size_t i = 0; i < model.ids.size(); ++i) model.ids[i] = static_cast<int32_t>(i % 40 + 1);
  const std::vector<float> expected = model.logits("ref");
  for (const size_t piece : {1, 2, 3, 7}) EXPECT_LE(distance(model.logits("ref", piece), expected), 1e-4) << piece;
  model.set("ple.eos_token_id", 20);
  const std::vector<float> cut = model.logits("ref");
  const ptrdiff_t at = 20 * 272;  // the token after the one that ends the text
  EXPECT_GT(distance({cut.begin() + at, cut.end()}, {expected.begin() + at, expected.end()}), 1e-3);
  for (const size_t piece : {1, 20, 21}) EXPECT_LE(distance(model.logits("ref", piece), cut), 1e-4) << piece;
}

TEST(Qwen4exp, AnyBlockMayHaveGrams) {
  ChangedModel model("qwen4exp");
  const std::vector<float> expected = model.logits("ref");
  model.set("ple.layers", std::vector<uint32_t>{2});  // one of attention
  EXPECT_THAT(model.error(), HasSubstr("blk.2.ple_key.weight is missing"));
  for (const char* const name : {"ple_key.weight", "ple_value.weight", "ple_norm_key.weight", "ple_norm_query.weight",
                                 "ple_norm_conv.weight", "ple_conv1d.weight"})
    model.rename_tensor(block(1, name), block(2, name));
  const std::vector<float> moved = model.logits("ref");
  EXPECT_GT(distance(moved, expected), 1e-3);
  EXPECT_LE(distance(model.logits("ref", 11), moved), 1e-4);
}

TEST(Qwen4exp, WhatCannotBeIsRefused) {
  const auto error_with = [](const auto& change) {
    ChangedModel model("qwen4exp");
    change(model);
    return model.error();
  };
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("ple.layers", std::vector<uint32_t>{3}); }),
              HasSubstr("expected less than 3 blocks"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("ple.ngram_size", 1); }), HasSubstr("at least 2"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("embedding_length_per_layer_input", 11); }),
              HasSubstr("expected embedding_length 48"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.set("ple.head_vocab_sizes", std::vector<uint32_t>{31, 0, 41, 43});
              }),
              HasSubstr("holds 0"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.set("ple.head_vocab_sizes", std::vector<uint32_t>{31, 37, 41, 44});
              }),
              HasSubstr("per_layer_token_embd.weight"));  // has a row less
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("hyper_connection.low_rank", 193); }), HasSubstr("at most"));
}

// The choice of blocks in longer texts is not built.
TEST(Qwen4exp, LongTextsAreRefused) {
  ChangedModel model("qwen4exp");
  const std::vector<float> expected = model.logits("ref");
  model.set("attention.indexer.top_k", 48);
  EXPECT_EQ(model.logits("ref"), expected);
  model.set("attention.indexer.top_k", 47);
  EXPECT_THAT(test::error_of([&] { model.logits("ref"); }), HasSubstr("a context of 48 tokens: beyond 44"));
}

}  // namespace
}  // namespace steelyard::model
