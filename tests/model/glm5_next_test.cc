// GLM-5.3-Flash: whose choice a block takes, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/changed_model.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

constexpr const char* kTypes = "attention.indexer.types";

TEST(Glm5Next, BlocksWithoutAnIndexerChooseAsTheLast) {
  ChangedModel model("glm5-next");
  const std::vector<float> expected = model.logits("ref");
  // Types of blocks without attention do not count.
  model.set(kTypes, std::vector<uint32_t>{0, 1, 0, 0});
  EXPECT_EQ(model.logits("ref"), expected);
  for (const size_t piece : {1, 5, 30}) EXPECT_LE(distance(model.logits("ref", piece), expected), 1e-4) << piece;
  // By default all have one.
  model.erase(kTypes);
  EXPECT_THAT(model.error(), HasSubstr("blk.3.indexer.attn_q_b.weight is missing"));
  // The same weights, which now read another input.
  for (const char* const name :
       {"indexer.proj.weight", "indexer.attn_k.weight", "indexer.attn_q_b.weight", "indexer.k_norm.weight",
        "indexer.k_norm.bias", "indexer_compressor_gate.weight", "indexer_compressor_ape.weight"}) {
    test::ModelCopy::Tensor tensor = *model.copy.find(block(1, name));
    tensor.info.name = block(3, name);
    model.copy.tensors.push_back(tensor);
  }
  EXPECT_GT(distance(model.logits("ref"), expected), 1e-3);
}

TEST(Glm5Next, AllIsSeenWithinTheBudget) {
  ChangedModel model("glm5-next");
  const std::vector<float> sparse = model.logits("ref");
  model.set("attention.indexer.top_k", 48);
  const std::vector<float> dense = model.logits("ref");
  EXPECT_GT(distance(dense, sparse), 1e-3);
  model.set("attention.indexer.top_k", 44);  // 11 of 12 pools, and all but the last query still see all
  const std::vector<float> almost = model.logits("ref");
  EXPECT_LE(distance({almost.begin(), almost.end() - 272}, {dense.begin(), dense.end() - 272}), 1e-4);
}

TEST(Glm5Next, WhatCannotBeIsRefused) {
  const auto error_with = [](const auto& change) {
    ChangedModel model("glm5-next");
    change(model);
    return model.error();
  };
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.set(kTypes, std::vector<uint32_t>{1, 0, 1, 1});
              }),
              HasSubstr("no earlier choice"));
  EXPECT_THAT(error_with([](ChangedModel& m) { m.set("attention.indexer.top_k", 3); }),
              HasSubstr("less than a block of 4"));
  EXPECT_THAT(error_with([](ChangedModel& m) {
                m.copy.metadata.set_boolean(m.key("attention.indexer.kpool_select_tail"), false);
              }),
              HasSubstr("kpool_select_tail is false"));
}

}  // namespace
}  // namespace steelyard::model
