// Conditions: what they ask, how they are written, and where a model's facts come from.
#include "plan/condition.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "error_of.h"

namespace steelyard::plan {
namespace {

Condition parse(std::string_view text) { return Condition::parse(text, "p.plan:1"); }

std::string refusal(std::string_view text) {
  return test::error_of([&] { parse(text); });
}

TEST(Condition, WithoutQuestionsAlwaysHolds) {
  EXPECT_TRUE(Condition().holds({}));
  EXPECT_EQ(Condition().text(), "");
}

TEST(Condition, AsksForFlags) {
  EXPECT_TRUE(parse("imatrix").holds({.imatrix = true}));
  EXPECT_FALSE(parse("imatrix").holds({}));
  EXPECT_TRUE(parse("not imatrix").holds({}));
  EXPECT_TRUE(parse("tied").holds({.tied = true}));
  EXPECT_FALSE(parse("not tied").holds({.tied = true}));
}

TEST(Condition, ComparesNumbers) {
  const Facts facts{.gqa = 4};
  for (const char* yes : {"gqa >= 4", "gqa<=4", "gqa == 4", "gqa !=5", "gqa> 3", "gqa < 5", "experts == 0"}) {
    EXPECT_TRUE(parse(yes).holds(facts)) << yes;
  }
  for (const char* no : {"gqa >= 5", "gqa <= 3", "gqa == 3", "gqa != 4", "gqa > 4", "gqa < 4", "experts > 0"}) {
    EXPECT_FALSE(parse(no).holds(facts)) << no;
  }
}

TEST(Condition, HoldsWhenAllTermsDo) {
  const Condition both = parse("imatrix and gqa >= 4");
  EXPECT_TRUE(both.holds({.imatrix = true, .gqa = 4}));
  EXPECT_FALSE(both.holds({.gqa = 4}));
  EXPECT_FALSE(both.holds({.imatrix = true, .gqa = 3}));
}

TEST(Condition, TakesASetOfIndices) {
  const Condition condition = parse("index in {:1/8, -1} and imatrix");
  ASSERT_TRUE(condition.index().has_value());
  EXPECT_TRUE(condition.index()->contains(1, 16));
  EXPECT_FALSE(condition.index()->contains(2, 16));
  EXPECT_TRUE(condition.index()->contains(15, 16));
  EXPECT_FALSE(condition.holds({})) << "the other terms still count";
  EXPECT_FALSE(condition.is_place());
  EXPECT_TRUE(parse("place in {:1/8}").is_place());
  EXPECT_TRUE(parse("place in {:1/8}").index()->contains(1, 16));
  EXPECT_FALSE(parse("imatrix").index().has_value());
}

TEST(Condition, AsksForBlocksThatPredict) {
  EXPECT_EQ(parse("imatrix").predicting(), std::nullopt);
  EXPECT_EQ(parse("nextn and imatrix").predicting(), true);
  EXPECT_EQ(parse("not nextn").predicting(), false);
  EXPECT_TRUE(parse("nextn").holds({})) << "a question to the tensor";
}

TEST(Condition, TextReadsBack) {
  for (const char* text : {"imatrix", "not tied and gqa >= 4", "index in {:1/8, 7/8:}", "place in {-1} and not nextn",
                           "experts != 8 and imatrix"}) {
    EXPECT_EQ(parse(text).text(), text);
    EXPECT_TRUE(parse(parse(text).text()) == parse(text));
  }
  EXPECT_EQ(parse("  gqa>=04\tand  not   tied ").text(), "gqa >= 4 and not tied");
}

TEST(Condition, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"",
                           "and",
                           "imatrix and",
                           "and imatrix",
                           "imatrix tied",
                           "not not tied",
                           "not gqa >= 4",
                           "gqa",
                           "gqa 4",
                           "gqa => 4",
                           "gqa >= 4x",
                           "gqa >= ",
                           "gqa >= 99999999999999999999",
                           "imatrix == 1",
                           "gqaexperts >= 1",
                           "index",
                           "index in",
                           "index in {",
                           "index in {x}",
                           "index in {1} and index in {2}",
                           "not index in {1}",
                           "place",
                           "place in {1} and index in {2}",
                           "nextn and not nextn",
                           "nextn == 1",
                           "IMATRIX"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_EQ(refusal("gqa >= many"), "p.plan:1: 'many' is no number to compare gqa with");
  EXPECT_TRUE(refusal("rainy").starts_with("p.plan:1: unknown condition 'rainy'; expected one of: imatrix, "));
}

class ModelFacts : public testing::Test {
 protected:
  void SetUp() override { metadata_.set_string("general.architecture", "x"); }
  void set_array(const std::string& key, const std::vector<uint32_t>& values) {
    std::string raw;
    const auto append = [&](auto value) { raw.append(reinterpret_cast<const char*>(&value), sizeof value); };
    append(static_cast<uint32_t>(gguf::ValueType::kUint32));
    append(static_cast<uint64_t>(values.size()));
    for (const uint32_t value : values) append(value);
    metadata_.set({key, gguf::ValueType::kArray, raw});
  }
  gguf::Metadata metadata_{"m.gguf"};
};

TEST_F(ModelFacts, ComeFromTheMetadata) {
  metadata_.set_integer("x.attention.head_count", 96);
  metadata_.set_integer("x.attention.head_count_kv", 8);
  metadata_.set_integer("x.expert_count", 160);
  const Facts facts = model_facts(metadata_, true);
  EXPECT_TRUE(facts.imatrix);
  EXPECT_EQ(facts.gqa, 12);
  EXPECT_EQ(facts.experts, 160);
}

TEST_F(ModelFacts, HaveSensibleValuesWhereKeysAreMissing) {
  EXPECT_EQ(model_facts(metadata_, false).gqa, 0);
  EXPECT_EQ(model_facts(metadata_, false).experts, 0);
  EXPECT_EQ(model_facts(gguf::Metadata(), false).gqa, 0);
  metadata_.set_integer("x.attention.head_count", 32);
  EXPECT_EQ(model_facts(metadata_, false).gqa, 1) << "without a count of its own, each head has its own keys";
  metadata_.set_integer("x.attention.head_count_kv", 0);
  EXPECT_EQ(model_facts(metadata_, false).gqa, 0);
}

TEST_F(ModelFacts, TakeTheFirstLayerOfAnArray) {
  metadata_.set_integer("x.attention.head_count", 32);
  set_array("x.attention.head_count_kv", {8, 4, 0});
  EXPECT_EQ(model_facts(metadata_, false).gqa, 4);
  set_array("x.attention.head_count_kv", {});
  EXPECT_EQ(model_facts(metadata_, false).gqa, 1);
}

TEST_F(ModelFacts, RefuseKeysOfAnotherKind) {
  metadata_.set_string("x.expert_count", "many");
  EXPECT_THROW(model_facts(metadata_, false), Error);
}

}  // namespace
}  // namespace steelyard::plan
