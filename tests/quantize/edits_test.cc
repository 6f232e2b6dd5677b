// Metadata overrides and removed blocks: what becomes of types, names, data and per-block metadata.
#include "quantize/edits.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "quantize/prune.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using gguf::ValueType;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kTiny = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";

using test::error_of;

template <typename T>
gguf::KeyValue number(const std::string& key, ValueType type, T value) {
  return {key, type, std::string(reinterpret_cast<const char*>(&value), sizeof(value))};
}

template <typename T>
gguf::KeyValue array(const std::string& key, ValueType type, const std::vector<T>& values) {
  const auto id = static_cast<uint32_t>(type);
  const uint64_t count = values.size();
  std::string raw(reinterpret_cast<const char*>(&id), sizeof(id));
  raw.append(reinterpret_cast<const char*>(&count), sizeof(count));
  raw.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return {key, ValueType::kArray, raw};
}

gguf::Metadata some_of_each_type() {
  gguf::Metadata metadata("m.gguf");
  metadata.set(number<uint8_t>("u8", ValueType::kUint8, 1));
  metadata.set(number<int16_t>("i16", ValueType::kInt16, 1));
  metadata.set(number<uint32_t>("u32", ValueType::kUint32, 1));
  metadata.set(number<uint64_t>("u64", ValueType::kUint64, 1));
  metadata.set(number<float>("f32", ValueType::kFloat32, 1));
  metadata.set(number<double>("f64", ValueType::kFloat64, 1));
  metadata.set_boolean("bool", false);
  metadata.set_string("str", "old");
  metadata.set(array<int32_t>("array", ValueType::kInt32, {1, 2}));
  return metadata;
}

struct Stored {
  ValueType type;
  double value;
  bool operator==(const Stored&) const = default;
};

Stored after(const std::string& assignment) {
  gguf::Metadata metadata = some_of_each_type();
  override_value(metadata, assignment);
  const std::string key = assignment.substr(0, assignment.find('='));
  return {metadata.find(key)->type, metadata.real(key)};
}

TEST(OverrideValue, IntegersKeepTheirWidthWhereTheyFit) {
  EXPECT_EQ(after("u8=int:255"), (Stored{ValueType::kUint8, 255}));
  EXPECT_EQ(after("i16=int:-32768"), (Stored{ValueType::kInt16, -32768}));
  EXPECT_EQ(after("u64=int:7"), (Stored{ValueType::kUint64, 7}));
  EXPECT_EQ(after("u8=int:256"), (Stored{ValueType::kUint32, 256}));
  EXPECT_EQ(after("u8=int:-1"), (Stored{ValueType::kInt32, -1}));
  EXPECT_EQ(after("u32=int:4294967296"), (Stored{ValueType::kUint64, 4294967296.0}));
  EXPECT_EQ(after("u64=int:-4294967296"), (Stored{ValueType::kInt64, -4294967296.0}));
}

TEST(OverrideValue, NewKeysGetTheUsualTypes) {
  EXPECT_EQ(after("new=int:10"), (Stored{ValueType::kUint32, 10}));
  EXPECT_EQ(after("new=int:-10"), (Stored{ValueType::kInt32, -10}));
  EXPECT_EQ(after("new=float:0.5"), (Stored{ValueType::kFloat32, 0.5}));
  gguf::Metadata metadata = some_of_each_type();
  override_value(metadata, "new=bool:true");
  override_value(metadata, "text=str:a=b:c");
  override_value(metadata, "empty=str:");
  EXPECT_TRUE(metadata.boolean("new", false));
  EXPECT_EQ(metadata.string("text"), "a=b:c");
  EXPECT_EQ(metadata.string("empty"), "");
}

TEST(OverrideValue, OtherTypes) {
  EXPECT_EQ(after("f32=float:1e6"), (Stored{ValueType::kFloat32, 1e6}));
  EXPECT_EQ(after("f64=float:1e300"), (Stored{ValueType::kFloat64, 1e300}));
  gguf::Metadata metadata = some_of_each_type();
  override_value(metadata, "bool=bool:true");
  override_value(metadata, "str=str:new");
  EXPECT_TRUE(metadata.boolean("bool", false));
  EXPECT_EQ(metadata.string("str"), "new");
  EXPECT_EQ(metadata.entries().size(), some_of_each_type().entries().size());
  EXPECT_EQ(metadata.entries()[6].key, "bool") << "replaced in place";
}

TEST(OverrideValue, SaysWhatIsWrong) {
  const auto message = [](const std::string& assignment) {
    gguf::Metadata metadata = some_of_each_type();
    return error_of([&] { override_value(metadata, assignment); });
  };
  EXPECT_EQ(message("u32=float:1"), "--override-kv u32: the value is float, but m.gguf has u32 there");
  EXPECT_THAT(message("f32=int:1"), HasSubstr("the value is int, but m.gguf has f32 there"));
  EXPECT_THAT(message("bool=int:1"), HasSubstr("has bool there"));
  EXPECT_THAT(message("array=int:1"), HasSubstr("has array there"));
  EXPECT_THAT(message("str=bool:true"), HasSubstr("has string there"));
  EXPECT_THAT(message("u32=str:1"), HasSubstr("has u32 there"));
  EXPECT_THAT(message("u32=u32:1"), HasSubstr("type \"u32\" is unknown, expected int, float, bool or str"));
  EXPECT_THAT(message("u32=int:1x"), HasSubstr("\"1x\" is no integer"));
  EXPECT_THAT(message("u32=int:"), HasSubstr("\"\" is no integer"));
  EXPECT_THAT(message("u32=int:9223372036854775808"), HasSubstr("is no integer of at most 63 bits"));
  EXPECT_THAT(message("f32=float:nan"), HasSubstr("no finite number"));
  EXPECT_THAT(message("f32=float:1e39"), HasSubstr("does not fit f32"));
  EXPECT_THAT(message("bool=bool:1"), HasSubstr("neither true nor false"));
  for (const std::string bad : {"", "u32", "u32=1", "=int:1", "u32:int=1"}) {
    EXPECT_THAT(message(bad), HasSubstr("expected KEY=TYPE:VALUE")) << bad;
  }
  EXPECT_THAT(error_of([] {
                apply({{"a=int:1", "a=int:2"}, ""}, some_of_each_type(), {});
              }),
              HasSubstr("--override-kv a is given twice"));
}

TEST(ParseLayers, ListsAndRanges) {
  EXPECT_THAT(parse_layers("3"), ElementsAre(3));
  EXPECT_THAT(parse_layers("7-9,3,8"), ElementsAre(3, 7, 8, 9));
  for (const std::string bad :
       {"", ",", "3,", "-3", "3-", "9-7", "a", "3 4", "0-99999999999", "99999999999999999999"}) {
    EXPECT_NE(error_of([&] { parse_layers(bad); }), "") << bad;
  }
}

// A model of 8 blocks, the last of which predicts, with every kind of per-block metadata.
struct Model {
  gguf::Metadata metadata{"m.gguf"};
  std::vector<gguf::TensorInfo> tensors;

  Model() {
    metadata.set_string("general.architecture", "arch");
    metadata.set(number<uint8_t>("arch.block_count", ValueType::kUint8, 8));
    metadata.set_integer("arch.leading_dense_block_count", 2);
    metadata.set_integer("arch.nextn_predict_layers", 1);
    metadata.set(array<int16_t>("arch.attention.head_count", ValueType::kInt16, {0, 1, 2, 3, 4, 5, 6, 7}));
    metadata.set(array<uint8_t>("arch.attention.sliding_window_pattern", ValueType::kBool, {1, 1, 0, 1, 1, 0, 1}));
    metadata.set(array<int32_t>("arch.rope.dimension_sections", ValueType::kInt32, {8, 8, 8, 8, 8, 8, 8, 8}));
    metadata.set(array<int32_t>("arch.other", ValueType::kInt32, {1, 2, 3}));
    metadata.set(array<int32_t>("tokenizer.eight", ValueType::kInt32, {1, 2, 3, 4, 5, 6, 7, 8}));
    add("token_embd.weight");
    for (int block = 0; block < 8; ++block) {
      add(fmt::format("blk.{}.attn_q.weight", block));
      add(fmt::format("blk.{}.ffn_up.weight", block));
    }
    add("output.weight");
  }

  void add(const std::string& name) {
    gguf::TensorInfo tensor;
    tensor.name = name;
    tensor.n_dims = 1;
    tensor.offset = tensors.size() * 32;
    tensor.n_bytes = 4;
    tensors.push_back(tensor);
  }

  EditedModel pruned(const std::string& layers) const { return apply({{}, layers}, metadata, tensors); }
  std::string error(const std::string& layers) const {
    return error_of([&] { pruned(layers); });
  }
};

TEST(Prune, RenumbersAndKeepsTheLinkToTheSource) {
  const Model source;
  const EditedModel model = source.pruned("1,3-4");
  ASSERT_EQ(model.tensors.size(), source.tensors.size() - 6);
  ASSERT_EQ(model.names.size(), model.tensors.size());
  std::vector<std::string> pairs;
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    const gguf::TensorInfo& tensor = model.tensors[i];
    EXPECT_EQ(model.names[i].to, tensor.name);
    const auto& from = source.tensors[tensor.offset / 32];
    EXPECT_EQ(model.names[i].from, from.name);
    if (tensor.name.ends_with("up.weight")) pairs.push_back(from.name.substr(0, 5) + ">" + tensor.name.substr(0, 5));
  }
  EXPECT_THAT(pairs, ElementsAre("blk.0>blk.0", "blk.2>blk.1", "blk.5>blk.2", "blk.6>blk.3", "blk.7>blk.4"));
  EXPECT_EQ(model.tensors.front().name, "token_embd.weight");
  EXPECT_EQ(model.tensors.back().name, "output.weight");
}

TEST(Prune, AdaptsMetadataOfBlocks) {
  const Model source;
  const EditedModel model = source.pruned("1,3-4");
  const gguf::Metadata& metadata = model.metadata;
  EXPECT_EQ(metadata.integer("arch.block_count"), 5);
  EXPECT_EQ(metadata.find("arch.block_count")->type, ValueType::kUint8);
  EXPECT_EQ(metadata.integer("arch.leading_dense_block_count"), 1);
  EXPECT_EQ(metadata.integer("arch.nextn_predict_layers"), 1);
  EXPECT_THAT(metadata.integers("arch.attention.head_count"), ElementsAre(0, 2, 5, 6, 7));
  EXPECT_THAT(metadata.integers("arch.attention.sliding_window_pattern"), ElementsAre(1, 0, 0, 1));
  for (const char* key : {"arch.rope.dimension_sections", "arch.other", "tokenizer.eight"}) {
    EXPECT_EQ(metadata.find(key)->raw, source.metadata.find(key)->raw) << key;
  }
}

TEST(Prune, PredictionBlocksAreCounted) {
  EXPECT_EQ(Model().pruned("7").metadata.integer("arch.nextn_predict_layers"), 0);
  EXPECT_EQ(Model().pruned("0-1").metadata.integer("arch.leading_dense_block_count"), 0);
}

TEST(Prune, PeriodsHoldOrAreRefused) {
  Model source;
  source.metadata.set_integer("arch.full_attention_interval", 3);
  EXPECT_EQ(source.pruned("1-3").metadata.integer("arch.full_attention_interval"), 3);
  EXPECT_EQ(source.pruned("6").metadata.integer("arch.full_attention_interval"), 3) << "nothing of the trunk moves";
  EXPECT_THAT(source.error("1-2"), HasSubstr("key 'arch.full_attention_interval' says that the kinds of blocks repeat "
                                             "every 3, and block 3 would become block 1, of another kind"));
}

TEST(Prune, SaysWhatCannotBe) {
  EXPECT_THAT(Model().error("3,8"),
              HasSubstr("m.gguf: --prune-layers: there is no block 8, the model has blocks 0 to 7"));
  EXPECT_THAT(Model().error("0-6"), HasSubstr("no block would be left"));
  Model gap;
  std::erase_if(gap.tensors, [](const gguf::TensorInfo& tensor) { return tensor.name.starts_with("blk.3."); });
  EXPECT_THAT(gap.error("3"), HasSubstr("no tensor is named blk.3."));
  Model beyond;
  beyond.add("blk.8.ffn_up.weight");
  EXPECT_THAT(beyond.error("3"), HasSubstr("blk.8.ffn_up.weight lies beyond block_count 8"));
  Model ragged;
  ragged.metadata.set(array<int32_t>("arch.attention.head_count_kv", ValueType::kInt32, {1, 2, 3}));
  EXPECT_THAT(ragged.error("3"), HasSubstr("key 'arch.attention.head_count_kv' has 3 values for 8 blocks"));
  Model without;
  without.metadata.erase("arch.block_count");
  EXPECT_THAT(without.error("3"), HasSubstr("arch.block_count"));
  Model absurd;
  absurd.metadata.set(number("arch.block_count", ValueType::kUint64, uint64_t{1} << 60));
  EXPECT_THAT(absurd.error("3"), HasSubstr("blocks, expected 1 to"));
}

TEST(Prune, OverridesHaveTheLastWord) {
  const Model source;
  EXPECT_EQ(
      apply({{"arch.block_count=int:3"}, "1"}, source.metadata, source.tensors).metadata.integer("arch.block_count"),
      3);
}

TEST(Apply, NothingChangesNothing) {
  const gguf::Reader reader(kTiny);
  const EditedModel model = apply({}, reader.metadata(), reader.tensors());
  ASSERT_EQ(model.tensors.size(), reader.tensors().size());
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    EXPECT_EQ(model.tensors[i].name, reader.tensors()[i].name);
    EXPECT_EQ(model.names[i].from, model.names[i].to);
  }
  EXPECT_EQ(model.metadata.entries().size(), reader.metadata().entries().size());
}

// The place of the data travels with the renamed tensor: the reader finds the source's bytes through it.
TEST(Apply, RenamedTensorsReadTheSourcesBytes) {
  const gguf::Reader reader(kTiny);
  const EditedModel model = apply({{}, "2"}, reader.metadata(), reader.tensors());
  EXPECT_EQ(model.metadata.integer("deepseek2.block_count"), 3);
  EXPECT_EQ(model.metadata.integer("deepseek2.leading_dense_block_count"), 1);
  int n_moved = 0;
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    const gguf::TensorInfo& from = *reader.find(model.names[i].from);
    EXPECT_EQ(reader.bytes(model.tensors[i]).data(), reader.bytes(from).data());
    EXPECT_EQ(reader.bytes(model.tensors[i]).size(), reader.bytes(from).size());
    if (model.names[i].from != model.names[i].to) {
      EXPECT_TRUE(model.names[i].from.starts_with("blk.3.") && model.names[i].to.starts_with("blk.2."));
      ++n_moved;
    }
  }
  EXPECT_GT(n_moved, 10);
}

}  // namespace
}  // namespace steelyard::quantize
