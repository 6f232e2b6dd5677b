// One model written in different ways must give the same logits: fused and split tensors, the old layout of latent
// attention, keys given or left to their defaults, scalars or arrays.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "gguf/reader.h"
#include "model/model.h"
#include "model/variant.h"
#include "model_copy.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {
namespace {

TEST(Variants, FusedQueriesKeysAndValues) {
  for (const char* name : {"qwen2", "qwen3", "gpt-oss"}) {
    Variant model(name);
    const int64_t width = model.integer("embedding_length");
    for (int64_t i = 0; i < model.integer("block_count"); ++i) {
      std::vector<std::string> weights, biases;
      std::vector<size_t> weight_steps, bias_steps;
      int64_t rows = 0;
      for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
        weights.push_back(block(i, part) + ".weight");
        biases.push_back(block(i, part) + ".bias");
        weight_steps.push_back(model.values(weights.back()).size());
        bias_steps.push_back(weight_steps.back() / static_cast<size_t>(width));
        rows += static_cast<int64_t>(bias_steps.back());
      }
      model.fuse(block(i, "attn_qkv.weight"), {width, rows, 1, 1}, weights, weight_steps);
      // gpt-oss keeps its biases apart: that is allowed too.
      if (std::string(name) == "qwen2") model.fuse(block(i, "attn_qkv.bias"), {rows, 1, 1, 1}, biases, bias_steps);
    }
    model.expect_equal();
  }
}

TEST(Variants, FusedExperts) {
  for (const char* name : {"deepseek2", "qwen3moe", "gpt-oss"}) {
    Variant model(name);
    const int64_t width = model.integer("embedding_length"), n = model.integer("expert_count");
    const int64_t n_ff = model.integer("expert_feed_forward_length");
    for (int64_t i = 0; i < model.integer("block_count"); ++i) {
      if (model.copy.find(block(i, "ffn_gate_exps.weight")) == model.copy.tensors.end()) continue;
      const auto step = static_cast<size_t>(width * n_ff);
      model.fuse(block(i, "ffn_gate_up_exps.weight"), {width, 2 * n_ff, n, 1},
                 {block(i, "ffn_gate_exps.weight"), block(i, "ffn_up_exps.weight")}, {step, step});
    }
    model.expect_equal();  // of gpt-oss with the biases of the halves
  }
}

// [n_nope, R, H] and [R, head_v, H] become [R, H * (n_nope + head_v)]: per head keys (transposed), then values.
TEST(Variants, ExpandedLatentAttention) {
  for (const char* name : {"deepseek2", "deepseek2_yarn", "deepseek3"}) {
    Variant model(name);
    const auto rank = static_cast<size_t>(model.integer("attention.kv_lora_rank"));
    const auto n_head = static_cast<size_t>(model.integer("attention.head_count"));
    const auto head_k = static_cast<size_t>(model.integer("attention.key_length_mla"));
    const auto head_v = static_cast<size_t>(model.integer("attention.value_length_mla"));
    const size_t n_nope = head_k - static_cast<size_t>(model.integer("rope.dimension_count"));
    for (int64_t i = 0; i < model.integer("block_count"); ++i) {
      const std::vector<float> k = model.values(block(i, "attn_k_b.weight"));
      const std::vector<float> v = model.values(block(i, "attn_v_b.weight"));
      std::vector<float> both;
      for (size_t head = 0; head < n_head; ++head) {
        for (size_t o = 0; o < n_nope; ++o) {
          for (size_t r = 0; r < rank; ++r) both.push_back(k[(head * rank + r) * n_nope + o]);
        }
        const auto begin = v.begin() + static_cast<ptrdiff_t>(head * head_v * rank);
        both.insert(both.end(), begin, begin + static_cast<ptrdiff_t>(head_v * rank));
      }
      model.copy.remove(block(i, "attn_k_b.weight"));
      model.copy.remove(block(i, "attn_v_b.weight"));
      const auto rows = static_cast<int64_t>(n_head * (n_nope + head_v));
      model.put(block(i, "attn_kv_b.weight"), {static_cast<int64_t>(rank), rows, 1, 1}, both);
    }
    for (const char* key : {"attention.key_length_mla", "attention.value_length_mla"}) {
      model.copy.metadata.erase(model.key(key));
    }
    model.copy.metadata.set_integer(model.key("attention.key_length"), static_cast<uint32_t>(head_k));
    model.copy.metadata.set_integer(model.key("attention.value_length"), static_cast<uint32_t>(head_v));
    model.copy.metadata.set_integer(model.key("attention.head_count_kv"), static_cast<uint32_t>(n_head));
    model.expect_equal();
  }
}

// The pattern of windows as a period, and as an array with an entry per block.
TEST(Variants, WindowsAsArray) {
  for (const char* name : {"gemma3", "gpt-oss"}) {
    Variant model(name);
    const std::vector<float> plain = model.logits("cpu", 48);
    const int64_t period = std::string(name) == "gemma3" ? model.integer("attention.sliding_window_pattern") : 2;
    gguf::KeyValue pattern{model.key("attention.sliding_window_pattern"), gguf::ValueType::kArray, ""};
    const auto append = [&](auto value) { pattern.raw.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
    const int64_t n = model.integer("block_count");
    append(static_cast<uint32_t>(gguf::ValueType::kBool));
    append(static_cast<uint64_t>(n));
    for (int64_t i = 0; i < n; ++i) append(static_cast<uint8_t>(i % period < period - 1));
    model.copy.metadata.set(pattern);
    EXPECT_EQ(model.logits("cpu", 48), plain);
    pattern.raw[4 + 8] ^= 1;  // block 0 the other way
    model.copy.metadata.set(pattern);
    EXPECT_NE(model.logits("cpu", 48), plain);
    pattern.raw.resize(4);
    append(uint64_t{1});
    append(uint8_t{1});
    model.copy.metadata.set(pattern);
    model.expect_refused("has 1 entries for 3 layers");
  }
}

TEST(Variants, GemmaWithoutWindow) {
  Variant model("gemma3");
  model.copy.metadata.erase(model.key("attention.sliding_window"));
  const std::vector<float> none = model.logits("cpu", 48);
  model.copy.metadata.set_integer(model.key("attention.sliding_window"), 0);
  EXPECT_EQ(model.logits("cpu", 48), none);
  model.copy.metadata.set_integer(model.key("attention.sliding_window"), 16);
  model.copy.metadata.set_integer(model.key("attention.sliding_window_pattern"), 1);  // every block is full
  EXPECT_EQ(model.logits("cpu", 48), none);
}

TEST(Variants, LogitSoftcap) {
  Variant model("gemma3");
  model.copy.metadata.set_real(model.key("final_logit_softcapping"), 3.0f);
  for (float& value : model.expected) value = 3.0f * std::tanh(value / 3.0f);
  model.expect_equal(5e-3);  // gelu of the golden came from a table in half precision
}

TEST(Variants, OutputBias) {
  Variant model("qwen2");
  std::vector<float> bias(static_cast<size_t>(272));
  std::iota(bias.begin(), bias.end(), -100.0f);
  model.put("output.bias", {272, 1, 1, 1}, bias);
  for (size_t i = 0; i < model.expected.size(); ++i) model.expected[i] += bias[i % bias.size()];
  model.expect_equal(2e-4);
}

// Biases of zero change nothing; one that is not shows.
TEST(Variants, OptionalBiases) {
  Variant model("llama");
  const int64_t width = model.integer("embedding_length"), n_ff = model.integer("feed_forward_length");
  const auto zeros = [&](const std::string& name, int64_t n) {
    model.put(name, {n, 1, 1, 1}, std::vector<float>(static_cast<size_t>(n)));
  };
  zeros(block(1, "attn_output.bias"), width);
  zeros(block(1, "ffn_gate.bias"), n_ff);
  zeros(block(1, "ffn_up.bias"), n_ff);
  zeros(block(1, "ffn_down.bias"), width);
  model.expect_equal();
  const std::vector<float> plain = model.logits("cpu", 48);
  for (const char* name : {"attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"}) {
    model.copy.set_value(block(1, name), 3, 1.0f);
    EXPECT_NE(model.logits("cpu", 48), plain) << name;
    model.copy.set_value(block(1, name), 3, 0.0f);
  }
}

TEST(Variants, DefaultsOfKeys) {
  Variant glm("glm4moe");
  glm.copy.metadata.erase(glm.key("expert_gating_func"));  // sigmoid
  glm.expect_equal();

  Variant qwen("qwen3moe");
  const int64_t used = qwen.integer("expert_used_count"), n_ff = qwen.integer("expert_feed_forward_length");
  qwen.copy.metadata.erase(qwen.key("expert_feed_forward_length"));
  qwen.copy.metadata.set_integer(qwen.key("feed_forward_length"), static_cast<uint32_t>(used * n_ff));
  qwen.copy.metadata.set_integer(qwen.key("expert_gating_func"), 2);  // this and the next are not read
  qwen.copy.metadata.set_boolean(qwen.key("expert_weights_norm"), false);
  qwen.expect_equal();

  Variant gpt("gpt-oss");
  gpt.copy.metadata.set_real(gpt.key("rope.freq_base_swa"), 150000.0f);
  gpt.copy.metadata.erase(gpt.key("rope.dimension_count"));  // the head width
  gpt.expect_equal();

  Variant minimax("minimax-m2");
  minimax.copy.metadata.set_real(minimax.key("expert_weights_scale"), 2.0f);  // not read
  minimax.expect_equal();
  minimax.copy.metadata.erase(minimax.key("expert_gating_func"));
  minimax.expect_refused("minimax-m2.expert_gating_func is missing");

  Variant llama("llama");
  llama.copy.metadata.set_string(llama.key("rope.scaling.type"), "none");
  llama.copy.metadata.set_real(llama.key("rope.scaling.factor"), 4.0f);
  llama.expect_equal();
}

// The names of factors for short and long texts; 48 positions are within 48 and beyond 47. In pieces of 20 the text is
// beyond 47 with the third one only: from there on everything is as if it had come as a whole.
TEST(Variants, Longrope) {
  for (const bool beyond : {false, true}) {
    Variant model("llama3_ropefreqs");
    model.copy.metadata.set_string(model.key("rope.scaling.type"), "longrope");
    model.copy.metadata.set_integer(model.key("rope.scaling.original_context_length"), beyond ? 47 : 48);
    const auto other = *model.copy.find("rope_freqs.weight");
    model.copy.find("rope_freqs.weight")->info.name = beyond ? "rope_factors_long.weight" : "rope_factors_short.weight";
    model.copy.tensors.push_back(other);
    model.copy.tensors.back().info.name = beyond ? "rope_factors_short.weight" : "rope_factors_long.weight";
    model.copy.set_value(model.copy.tensors.back().info.name, 0, 7.0f);
    model.expect_equal(kMaxDifference, beyond ? 40 : 0);
    model.copy.remove("rope_factors_long.weight");
    model.expect_refused("tensor rope_factors_long.weight is missing");
  }
}

// The length of the text decides, not the room for it, and each text of a batch for itself.
TEST(Variants, LongropeGoesByTheText) {
  Variant variant("llama3_ropefreqs");
  variant.copy.metadata.set_string(variant.key("rope.scaling.type"), "longrope");
  variant.copy.metadata.set_integer(variant.key("rope.scaling.original_context_length"), 10);
  variant.copy.tensors.push_back(*variant.copy.find("rope_freqs.weight"));
  variant.copy.tensors.back().info.name = "rope_factors_short.weight";
  variant.copy.find("rope_freqs.weight")->info.name = "rope_factors_long.weight";
  variant.copy.set_value("rope_factors_long.weight", 0, 7.0f);
  const test::TempFolder folder;
  variant.copy.save(folder / "long.gguf");
  const gguf::Reader reader(folder / "long.gguf");
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend);
  std::vector<int32_t> ids(30);
  std::iota(ids.begin(), ids.end(), 5);
  const auto row = [](Matrix x, int64_t t) { return std::vector<float>(x.row(t), x.row(t) + x.cols); };
  const auto last = [&](int64_t room, size_t n) {
    schedule::Session session(model, room);
    return row(session.forward(std::span(ids).first(n)), static_cast<int64_t>(n) - 1);
  };
  EXPECT_EQ(last(10, 10), last(30, 10));
  EXPECT_EQ(last(11, 11), last(30, 11));

  schedule::Session two(model, 30, 2);
  two.forward_batch(std::vector<schedule::SequenceTokens>{{0, std::span(ids).first(9)}, {1, std::span(ids).first(8)}});
  const Matrix x = two.forward_batch(
      std::vector<schedule::SequenceTokens>{{0, std::span(ids).subspan(9, 3)}, {1, std::span(ids).subspan(8, 2)}});
  const auto difference = [](const std::vector<float>& a, const std::vector<float>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double{a[i]} - b[i]));
    return most;
  };
  EXPECT_LE(difference(row(x, 2), last(30, 12)), 1e-5);
  EXPECT_LE(difference(row(x, 4), last(10, 10)), 1e-5);
  EXPECT_GT(difference(row(x, 2), row(x, 4)), 1e-2);
  two.reset(0);  // and begins with a short text again
  EXPECT_LE(difference(row(two.forward(std::span(ids).first(10)), 9), last(10, 10)), 1e-5);
}

// A file's array of equal values is the value, whichever key it is.
TEST(Variants, ArraysOfEqualValues) {
  for (const char* name : {"llama", "mixtral", "qwen2", "qwen3", "qwen3moe", "qwen3next", "qwen35moe", "deepseek2",
                           "deepseek3", "glm4moe", "minimax-m2", "gpt-oss", "gemma3"}) {
    Variant model(name);
    const std::vector<float> plain = model.logits("cpu", 48);
    const auto n = static_cast<uint64_t>(model.integer("block_count"));
    int changed = 0;
    for (gguf::KeyValue entry : std::vector<gguf::KeyValue>(model.copy.metadata.entries())) {
      const bool number = entry.type != gguf::ValueType::kArray && entry.type != gguf::ValueType::kString;
      // An array of flags, whatever its values.
      const bool flags = entry.key.ends_with("sliding_window_pattern") || entry.key.ends_with("recurrent_layers");
      if (!number || flags || !entry.key.starts_with(model.key(""))) continue;
      const auto type = static_cast<uint32_t>(entry.type);
      std::string raw(reinterpret_cast<const char*>(&type), sizeof(type));
      raw.append(reinterpret_cast<const char*>(&n), sizeof(n));
      for (uint64_t i = 0; i < n; ++i) raw += entry.raw;
      model.copy.metadata.set({entry.key, gguf::ValueType::kArray, raw});
      ++changed;
    }
    EXPECT_GE(changed, 7) << name;
    EXPECT_EQ(model.logits("cpu", 48), plain) << name;
  }
}

gguf::KeyValue array_of(const std::string& key, const std::vector<uint32_t>& values) {
  const auto type = static_cast<uint32_t>(gguf::ValueType::kUint32);
  const uint64_t n = values.size();
  std::string raw(reinterpret_cast<const char*>(&type), sizeof(type));
  raw.append(reinterpret_cast<const char*>(&n), sizeof(n));
  raw.append(reinterpret_cast<const char*>(values.data()), n * sizeof(uint32_t));
  return {key, gguf::ValueType::kArray, raw};
}

// Block 1 has a key/value head for each query head, copies of those it had, and a wider FFN whose new part is zero.
TEST(Variants, LayersThatDiffer) {
  for (const char* name : {"llama", "qwen3", "gemma3"}) {
    Variant model(name);
    const auto width = static_cast<size_t>(model.integer("embedding_length"));
    const auto n_head = static_cast<size_t>(model.integer("attention.head_count"));
    const auto n_kv = static_cast<size_t>(model.integer("attention.head_count_kv"));
    const auto n_ff = static_cast<size_t>(model.integer("feed_forward_length"));
    ASSERT_LT(n_kv, n_head);
    for (const char* part : {"attn_k.weight", "attn_v.weight"}) {
      const std::vector<float> old = model.values(block(1, part));
      const size_t head = old.size() / n_kv;
      std::vector<float> repeated;
      for (size_t h = 0; h < n_head; ++h) {
        const auto from = old.begin() + static_cast<ptrdiff_t>(h / (n_head / n_kv) * head);
        repeated.insert(repeated.end(), from, from + static_cast<ptrdiff_t>(head));
      }
      model.copy.remove(block(1, part));
      model.put(block(1, part), {static_cast<int64_t>(width), static_cast<int64_t>(repeated.size() / width), 1, 1},
                repeated);
    }
    for (const char* part : {"ffn_gate.weight", "ffn_up.weight"}) {
      std::vector<float> rows = model.values(block(1, part));
      rows.resize(rows.size() + 32 * width);
      model.copy.remove(block(1, part));
      model.put(block(1, part), {static_cast<int64_t>(width), static_cast<int64_t>(n_ff + 32), 1, 1}, rows);
    }
    const std::vector<float> down = model.values(block(1, "ffn_down.weight"));
    std::vector<float> wider;
    for (size_t r = 0; r < width; ++r) {
      wider.insert(wider.end(), down.begin() + static_cast<ptrdiff_t>(r * n_ff),
                   down.begin() + static_cast<ptrdiff_t>((r + 1) * n_ff));
      wider.resize(wider.size() + 32);
    }
    model.copy.remove(block(1, "ffn_down.weight"));
    model.put(block(1, "ffn_down.weight"), {static_cast<int64_t>(n_ff + 32), static_cast<int64_t>(width), 1, 1}, wider);

    const auto n = static_cast<size_t>(model.integer("block_count"));
    const auto set = [&](const std::string& key, size_t all, size_t of_1) {
      std::vector<uint32_t> values(n, static_cast<uint32_t>(all));
      values[1] = static_cast<uint32_t>(of_1);
      model.copy.metadata.set(array_of(model.key(key), values));
    };
    set("attention.head_count_kv", n_kv, n_head);
    set("feed_forward_length", n_ff, n_ff + 32);
    model.expect_equal(std::string(name) == "gemma3" ? 5e-3 : kMaxDifference);
  }
}

TEST(Variants, RefusedArrays) {
  Variant model("llama");
  const auto expect = [&](const std::string& key, const std::vector<uint32_t>& values, const std::string& reason) {
    Variant changed("llama");
    changed.copy.metadata.set(array_of(changed.key(key), values));
    changed.expect_refused(changed.key(key) + " " + reason);
  };
  expect("attention.head_count_kv", {}, "is an array of 0 entries");
  expect("attention.head_count_kv", {1, 2}, "has 2 entries for 3 blocks");
  expect("attention.head_count_kv", {3, 1, 1}, "is 3, expected a divisor");
  expect("feed_forward_length", {64, 0, 64}, "is 0, expected");
  expect("embedding_length", {64, 32, 64}, "differs from layer to layer");
  expect("block_count", {3, 4, 3}, "differs from layer to layer");
}

// Weights at a quarter, with the factor beside them.
TEST(Variants, FactorsBesideWeights) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"llama", {"blk.0.attn_q", "blk.1.ffn_up", "blk.1.ffn_down", "blk.0.attn_output", "output", "token_embd"}},
      {"mixtral", {"blk.0.ffn_up_exps", "blk.1.ffn_gate_exps", "blk.1.ffn_down_exps", "blk.1.ffn_gate_inp"}},
      {"deepseek2", {"blk.0.attn_k_b", "blk.1.attn_v_b", "blk.1.ffn_up_shexp", "blk.2.attn_q_a"}},
      {"qwen3next", {"blk.0.attn_qkv", "blk.0.ssm_out", "blk.0.attn_gate"}},
      {"llama_tied", {"token_embd"}},
  };
  for (const auto& [name, stems] : cases) {
    Variant model(name);
    for (const std::string& stem : stems) {
      ASSERT_NE(model.copy.find(stem + ".weight"), model.copy.tensors.end()) << stem;
      const auto slices = static_cast<size_t>(model.copy.find(stem + ".weight")->info.ne[2]);
      const std::vector<float> values = model.values(stem + ".weight");
      std::vector<float> factors;
      for (size_t s = 0; s < slices; ++s) factors.push_back(s % 2 ? 4.0f : 8.0f);
      for (size_t i = 0; i < values.size(); ++i) {
        model.copy.set_value(stem + ".weight", i, values[i] / factors[i / (values.size() / slices)]);
      }
      model.put(stem + ".scale", {static_cast<int64_t>(slices), 1, 1, 1}, factors);
      model.put(stem + ".input_scale", {1, 1, 1, 1}, {3.0f});  // for products of quantized inputs
    }
    model.expect_equal();
  }
  Variant model("llama");
  model.put("blk.1.attn_k.scale", {2, 1, 1, 1}, {1.0f, 2.0f});
  model.expect_refused("tensor blk.1.attn_k.scale has shape [2], expected [1, 1, 1]");
  model.copy.remove("blk.1.attn_k.scale");
  model.put("blk.1.attn_k.scale", {1, 1, 1, 1}, {std::nanf("")});
  model.expect_refused("tensor blk.1.attn_k.scale holds nan");
}

// What changes weights, or stands in for them, would lose the factors.
TEST(Variants, FactorsAreNotTuned) {
  Variant variant("llama");
  variant.put("blk.1.attn_k.scale", {1, 1, 1, 1}, {2.0f});
  const test::TempFolder folder;
  variant.copy.save(folder / "factor.gguf");
  const gguf::Reader reader(folder / "factor.gguf");
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend);
  LoadedTensors loaded;
  EXPECT_NO_THROW(model.layer(0, 8, {}, &loaded));
  EXPECT_NO_THROW(model.layer(1, 8));
  EXPECT_THROW(model.layer(1, 8, {}, &loaded), Error);
}

// A part of a model that its description does not have would be left out of the numbers.
TEST(Variants, UnknownTensors) {
  for (const char* name :
       {"blk.0.attn_q.weight_scale", "blk.1.ffn_up.weight.scale", "blk.1.attn_norm.bias", "blk.2.ffn_act.scales",
        "blk.2.attn_sub_norm.weight", "blk.3.attn_q.weight", "output.input", "output_norm.bias"}) {
    Variant model("llama");
    model.put(name, {1, 1, 1, 1}, {1.0f});
    model.expect_refused("tensor " + std::string(name));
  }
  for (const char* name : {"v.blk.0.attn_q.weight", "mm.0.weight", "blk.0.attn_rot_embd.weight", "note"}) {
    Variant model("llama");
    model.put(name, {1, 1, 1, 1}, {1.0f});
    model.expect_equal();
  }
}

TEST(Variants, RequiredTensors) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"qwen3", {"attn_q_norm.weight", "attn_k_norm.weight"}},
      {"qwen3moe", {"attn_q_norm.weight", "ffn_gate_inp.weight"}},
      {"glm4moe", {"exp_probs_b.bias", "post_attention_norm.weight", "ffn_up_shexp.weight"}},
      {"minimax-m2", {"attn_k_norm.weight", "exp_probs_b.bias"}},
      {"gpt-oss", {"attn_sinks.weight", "attn_output.bias", "ffn_gate_inp.bias", "ffn_up_exps.bias"}},
      {"gemma3", {"post_attention_norm.weight", "post_ffw_norm.weight", "attn_q_norm.weight"}},
  };
  for (const auto& [name, tensors] : cases) {
    for (const std::string& tensor : tensors) {
      Variant model(name);
      model.copy.remove(block(1, tensor));
      model.expect_refused("tensor blk.1." + tensor + " is missing");
    }
  }
  for (const char* name : {"minimax-m2", "gpt-oss"}) {
    Variant model(name);
    model.copy.remove("output.weight");
    model.expect_refused("tensor output.weight is missing");
  }
}

TEST(Variants, RefusedKeys) {
  const std::tuple<const char*, const char*, uint32_t> cases[] = {
      {"qwen3", "rope.dimension_count", 8},
      {"glm4moe", "rope.dimension_count", 18},
      {"glm4moe", "expert_count", 0},
      {"qwen3moe", "expert_count", 0},
      {"gpt-oss", "attention.sliding_window", 0},
      {"minimax-m2", "expert_gating_func", 9},
  };
  for (const auto& [name, key, value] : cases) {
    Variant model(name);
    model.copy.metadata.set_integer(model.key(key), value);
    model.expect_refused(model.key(key));
  }
  Variant model("glm4moe");
  model.copy.metadata.erase(model.key("expert_shared_count"));
  model.expect_refused(model.key("expert_shared_count"));
}

}  // namespace
}  // namespace steelyard::model
