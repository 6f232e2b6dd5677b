// What the goldens do not show of architectures whose blocks differ from each other: tensors and keys that may be
// absent, gates of either shape, shared keys, and contexts that are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compute/gradient_tape.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "model/variant.h"
#include "schedule/gradient_sweep.h"
#include "schedule/layer_sweep.h"
#include "schedule/memory_plan.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

gguf::KeyValue array(const std::string& key, gguf::ValueType type, const std::string& elements, uint64_t n) {
  gguf::KeyValue entry{key, gguf::ValueType::kArray, ""};
  const auto element = static_cast<uint32_t>(type);
  entry.raw.append(reinterpret_cast<const char*>(&element), sizeof(element));
  entry.raw.append(reinterpret_cast<const char*>(&n), sizeof(n));
  entry.raw += elements;
  return entry;
}

gguf::KeyValue flags(const std::string& key, const std::vector<bool>& values) {
  std::string raw;
  for (const bool value : values) raw.push_back(value ? 1 : 0);
  return array(key, gguf::ValueType::kBool, raw, values.size());
}

void expect_refused_without(const char* name, const std::string& key, const std::string& reason) {
  Variant model(name);
  model.copy.metadata.erase(model.key(key));
  model.expect_refused(reason);
}

TEST(Description, Step35) {
  Variant model("step35");
  model.copy.metadata.erase(model.key("expert_gating_func"));  // sigmoid
  model.copy.metadata.erase(model.key("rope.freq_base_swa"));  // 10000
  model.expect_equal();
  const std::vector<float> plain = model.logits("cpu", 48);
  model.copy.metadata.set_real(model.key("swiglu_clamp_exp"), 1e-7f);  // none
  const std::vector<float> none = model.logits("cpu", 48);
  EXPECT_NE(none, plain);
  model.copy.metadata.erase(model.key("swiglu_clamp_exp"));
  EXPECT_EQ(model.logits("cpu", 48), none);
  // Gates and norms are optional, block by block.
  for (const char* tensor : {"attn_gate.weight", "attn_q_norm.weight", "attn_k_norm.weight"}) {
    model.copy.remove(block(1, tensor));
    EXPECT_NE(model.logits("cpu", 48), none) << tensor;
  }
  expect_refused_without("step35", "attention.sliding_window_pattern", "sliding_window_pattern is no array");
  expect_refused_without("step35", "attention.sliding_window", "attention.sliding_window");
  Variant odd("step35");
  odd.copy.metadata.set_integer(odd.key("rope.dimension_count"), 14);
  odd.expect_refused("rope.dimension_count is 14, expected a multiple of 4");
}

// Where the tensors of experts are missing altogether, the block is dense.
TEST(Description, TensorsSayWhichBlocksHaveExperts) {
  for (const char* name : {"step35", "mimo2"}) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const ModelConfig config = read_config(reader), of_keys = read_config(reader.metadata());
    EXPECT_EQ(config.layers[0].ffn.n_expert, 0) << name;
    EXPECT_EQ(config.layers[1].ffn.n_expert, 5) << name;
    EXPECT_EQ(config.prediction[0].ffn.n_expert, 0) << name;
    EXPECT_EQ(of_keys.layers[1].ffn.n_expert, 0) << name;
    Variant model(name);
    model.copy.remove(block(1, "ffn_gate_inp.weight"));
    model.expect_refused("blk.1.ffn_gate.weight is missing");
  }
}

TEST(Description, Mimo2) {
  Variant model("mimo2");
  model.copy.metadata.erase(model.key("rope.freq_base_swa"));  // 10000
  const auto width = static_cast<size_t>(model.integer("embedding_length"));
  std::vector<std::string> parts;
  std::vector<size_t> steps;
  size_t rows = 0;
  for (const char* part : {"attn_q.weight", "attn_k.weight", "attn_v.weight"}) {
    parts.push_back(block(1, part));
    steps.push_back(model.values(parts.back()).size());
    rows += steps.back() / width;
  }
  model.fuse(block(1, "attn_qkv.weight"), {static_cast<int64_t>(width), static_cast<int64_t>(rows), 1, 1}, parts,
             steps);
  model.expect_equal();
  model.copy.metadata.set_real(model.key("attention.value_scale"), 1.0f);
  const std::vector<float> unscaled = model.logits("cpu", 48);
  model.copy.metadata.erase(model.key("attention.value_scale"));
  EXPECT_EQ(model.logits("cpu", 48), unscaled);
  model.copy.remove(block(1, "attn_sinks.weight"));
  EXPECT_NE(model.logits("cpu", 48), unscaled);
}

TEST(Description, Laguna) {
  Variant model("laguna");
  model.copy.metadata.erase(model.key("expert_gating_func"));                 // sigmoid
  model.copy.metadata.erase(model.key("expert_shared_feed_forward_length"));  // the count times a routed one's
  model.copy.metadata.set_integer(model.key("expert_shared_count"), 2);
  model.copy.metadata.set_integer(model.key("attention.sliding_window_pattern"), 4);
  // The gates of a head's values are equal: as one for the head.
  const int64_t width = model.integer("embedding_length"), head = model.integer("attention.value_length");
  for (int64_t i = 0; i < model.integer("block_count"); ++i) {
    const std::vector<float> per_head = model.values(block(i, "attn_gate.weight"));
    std::vector<float> per_value;
    for (auto row = per_head.begin(); row != per_head.end(); row += width)
      for (int64_t copy = 0; copy < head; ++copy) per_value.insert(per_value.end(), row, row + width);
    model.copy.remove(block(i, "attn_gate.weight"));
    model.put(block(i, "attn_gate.weight"), {width, static_cast<int64_t>(per_value.size()) / width, 1, 1}, per_value);
  }
  model.expect_equal();
  const std::vector<float> plain = model.logits("cpu", 48);
  model.copy.metadata.set_integer(model.key("attention.sliding_window_pattern"), 2);
  EXPECT_NE(model.logits("cpu", 48), plain);
  model.copy.metadata.erase(model.key("attention.sliding_window"));  // then all blocks are full
  EXPECT_NE(model.logits("cpu", 48), plain);
  model.copy.remove(block(1, "attn_gate.weight"));
  model.expect_refused("blk.1.attn_gate.weight is missing");
  expect_refused_without("laguna", "leading_dense_block_count", "leading_dense_block_count");
}

TEST(Description, MinimaxM3RefusesLongContexts) {
  const gguf::Reader reader(test::golden("models/minimax-m3/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend);
  EXPECT_EQ(longest_context(model.config()), 64);
  EXPECT_NO_THROW(schedule::Session(model, 64));
  EXPECT_THAT(
      test::error_of([&] { schedule::Session(model, 65); }),
      HasSubstr("a context of 65 tokens: beyond 64 (16 blocks of 4) minimax-m3 models attend to chosen blocks"));
  EXPECT_THAT(test::error_of([&] { schedule::LayerSweep(model, 65, {}); }), HasSubstr("which is not built"));
  EXPECT_THAT(test::error_of([&] { plan_memory(reader, model.config(), schedule::MemoryRequest{65}); }),
              HasSubstr("which is not built"));
  EXPECT_EQ(largest_context(reader, model.config(), schedule::MemoryRequest{0}, [](const auto&) { return true; }), 64);
  expect_refused_without("minimax-m3", "expert_gating_func", "expert_gating_func is missing");
  expect_refused_without("minimax-m3", "attention.indexer.local_blocks", "attention.indexer.local_blocks");
}

TEST(Description, IndexersOfGlm) {
  Variant model("glm-dsa_sparse");
  model.copy.metadata.erase(model.key("expert_gating_func"));  // sigmoid
  model.expect_equal();
  model.copy.metadata.erase(model.key("attention.indexer.types"));  // every block has one
  model.expect_refused("blk.1.indexer.attn_q_b.weight is missing");
  model.copy.metadata.set(flags(model.key("attention.indexer.types"), {false, true, true}));
  model.expect_refused("begins with 0");
  Variant narrow("deepseek32");
  narrow.copy.metadata.set_integer(narrow.key("attention.indexer.key_length"), 4);
  narrow.expect_refused("attention.indexer.key_length is 4");
  expect_refused_without("deepseek32", "expert_gating_func", "expert_gating_func is missing");
  expect_refused_without("glm-dsa", "attention.key_length_mla", "attention.key_length_mla");
}

// Models for a million tokens have an indexer in every fourth block, from the third on.
TEST(Description, IndexersOfLongGlm) {
  gguf::Metadata metadata = gguf::Reader(test::golden("models/glm-dsa/model.gguf")).metadata();
  metadata.erase("glm-dsa.attention.indexer.types");
  metadata.set_integer("glm-dsa.block_count", 12);
  for (const bool is_long : {false, true}) {
    metadata.set_integer("glm-dsa.context_length", is_long ? 1048576 : 1048575);
    std::string kinds;
    for (const LayerConfig& layer : read_config(metadata).layers)
      kinds.push_back(layer.attention.sharing == Sharing::kTakes ? '0' : '1');
    EXPECT_EQ(kinds, is_long ? "11100010001" : "11111111111");
  }
}

// Index keys are cached when there is something to choose from, and a way back is refused then.
TEST(Description, IndexKeysOfLongTexts) {
  const gguf::Reader reader(test::golden("models/glm-dsa_sparse/model.gguf"));
  const ModelConfig config = read_config(reader);
  for (const LayerConfig& layer : config.layers) {
    const AttentionConfig& attention = layer.attention;
    EXPECT_EQ(kv_layer_bytes(attention, 12), 12u * 192u);           // 40 values in whole cache lines
    EXPECT_EQ(kv_layer_bytes(attention, 13), 13u * (192u + 256u));  // 64 more
  }
  const auto backend = compute::make_backend("cpu");
  compute::GradientTape tape(*backend);
  const Model model(reader, tape);
  const auto sweep = [&](int64_t n_ctx) { schedule::GradientSweep(model, tape, n_ctx, {0, n_ctx}, {}); };
  EXPECT_NO_THROW(sweep(12));
  EXPECT_THAT(test::error_of([&] { sweep(13); }), HasSubstr("beyond 12 tokens"));
}

TEST(Description, Gemma4) {
  constexpr double kTable = 1e-2;  // gelu of the golden came from a table in half precision
  Variant model("gemma4");
  model.copy.metadata.erase(model.key("final_logit_softcapping"));  // 30
  model.copy.metadata.erase(model.key("rope.freq_base_swa"));       // 10000
  const std::vector<float> plain = model.logits("cpu", 48);
  // Blocks that share keys and values have no use for their own.
  for (const int64_t i : {3, 4}) {
    for (const char* tensor : {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"})
      model.copy.remove(block(i, tensor));
  }
  model.expect_equal(kTable);
  EXPECT_EQ(model.logits("cpu", 48), plain);
  // Without attn_v the products with attn_k are the values.
  Variant same("gemma4");
  same.copy.remove(block(0, "attn_v.weight"));
  same.put(block(0, "attn_v.weight"), {64, 32, 1, 1}, same.values(block(0, "attn_k.weight")));
  const std::vector<float> of_copy = same.logits("cpu", 48);
  EXPECT_NE(of_copy, plain);
  same.copy.remove(block(0, "attn_v.weight"));
  EXPECT_EQ(same.logits("cpu", 48), of_copy);
  // layer_output_scale is optional.
  Variant unscaled("gemma4");
  unscaled.copy.set_value(block(1, "layer_output_scale.weight"), 0, 1.0f);
  const std::vector<float> by_one = unscaled.logits("cpu", 48);
  EXPECT_NE(by_one, plain);
  unscaled.copy.remove(block(1, "layer_output_scale.weight"));
  EXPECT_EQ(unscaled.logits("cpu", 48), by_one);
  // A projection of another block's piece is not the same.
  model.copy.set_value("per_layer_token_embd.weight", 8, 9.0f);
  EXPECT_EQ(model.logits("cpu", 48), plain) << "token 0 is not in the text";
  for (size_t id = 0; id < 272; ++id) model.copy.set_value("per_layer_token_embd.weight", id * 40 + 39, 9.0f);
  EXPECT_NE(model.logits("cpu", 48), plain);
}

TEST(Description, Gemma4SharesKeysOfItsKind) {
  const auto refused = [](const std::vector<bool>& windows, uint32_t n_shared, const std::string& reason) {
    Variant model("gemma4");
    model.copy.metadata.set(flags(model.key("attention.sliding_window_pattern"), windows));
    model.copy.metadata.set_integer(model.key("attention.shared_kv_layers"), n_shared);
    model.expect_refused(reason);
  };
  refused({true, true, false, true, false}, 4, "shared_kv_layers is 4 of 5 blocks");
  refused({true, true, true, true, false}, 2, "block 2, whose keys would be shared, has a window");
  refused({true, false, false, true, false}, 2, "block 1, whose keys would be shared, has not a window");
  expect_refused_without("gemma4", "attention.key_length_swa", "attention.key_length_swa");
  expect_refused_without("gemma4", "embedding_length_per_layer_input", "embedding_length_per_layer_input");
}

TEST(Description, Gemma4WithExperts) {
  Variant model("gemma4_moe");
  const std::vector<float> plain = model.logits("cpu", 48);
  for (int64_t i = 0; i < 3; ++i)
    for (size_t e = 0; e < 6; ++e) model.copy.set_value(block(i, "ffn_down_exps.scale"), e, 1.0f);
  const std::vector<float> by_one = model.logits("cpu", 48);
  EXPECT_NE(by_one, plain);
  for (int64_t i = 0; i < 3; ++i) model.copy.remove(block(i, "ffn_down_exps.scale"));
  EXPECT_EQ(model.logits("cpu", 48), by_one);
  model.copy.remove(block(2, "ffn_gate_inp.scale"));
  model.expect_refused("blk.2.ffn_gate_inp.scale is missing");
}

// Layers look up rows of the table in the file; a device has their pieces of the projection.
TEST(Description, TablesOfGemma4AreNotOnDevices) {
  const gguf::Reader reader(test::golden("models/gemma4/model.gguf"));
  const ModelConfig config = read_config(reader);
  const schedule::MemoryPlan plan = plan_memory(reader, config, schedule::MemoryRequest{32});
  uint64_t weights = plan.embedding + plan.output;
  for (const schedule::LayerMemory& layer : plan.layers) weights += layer.weights;
  EXPECT_EQ(weights, reader.total_bytes() - reader.find("per_layer_token_embd.weight")->n_bytes);
}

}  // namespace
}  // namespace steelyard::model
