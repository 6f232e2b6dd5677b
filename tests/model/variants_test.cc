// One model written in different ways must give the same logits: fused and split tensors, the old layout of latent
// attention, keys given or left to their defaults, scalars or arrays.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "model/model.h"
#include "model_copy.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {
namespace {

constexpr double kMaxDifference = 1e-4;

class Variant {
 public:
  explicit Variant(const std::string& model)
      : copy(test::golden("models/" + model + "/model.gguf")),
        architecture_(copy.metadata.string("general.architecture")),
        expected(test::read_values<float>(test::golden("models/" + model + "/logits_0.f32"))) {
    const auto json = nlohmann::json::parse(test::read_text(test::golden("models/" + model + "/tokens.json")));
    ids_ = json["sequences"][0].get<std::vector<int32_t>>();
  }

  std::string key(const std::string& name) const { return architecture_ + "." + name; }
  int64_t integer(const std::string& name) const { return copy.metadata.integer(key(name)); }

  std::vector<float> values(const std::string& name) {
    const std::vector<std::byte>& bytes = copy.find(name)->bytes;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  void put(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne, const std::vector<float>& values) {
    gguf::TensorInfo info{};
    info.name = name;
    info.type = formats::Type::F32;
    info.ne = ne;
    info.n_dims = 1;
    while (info.n_dims < 3 && ne[info.n_dims] > 1) ++info.n_dims;
    const auto bytes = std::as_bytes(std::span(values));
    info.n_bytes = bytes.size();
    copy.tensors.push_back({info, {bytes.begin(), bytes.end()}});
  }

  // Pieces of `step[i]` values from each source in turn, as often as they last: one tensor made of several.
  void fuse(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne,
            const std::vector<std::string>& sources, const std::vector<size_t>& steps) {
    std::vector<float> fused;
    const auto total = static_cast<size_t>(ne[0] * ne[1] * ne[2]);
    for (size_t round = 0; fused.size() < total; ++round) {
      for (size_t i = 0; i < sources.size(); ++i) {
        const std::vector<float> from = values(sources[i]);
        const auto begin = from.begin() + static_cast<ptrdiff_t>(round * steps[i]);
        fused.insert(fused.end(), begin, begin + static_cast<ptrdiff_t>(steps[i]));
      }
    }
    for (const std::string& source : sources) copy.remove(source);
    put(name, ne, fused);
  }

  std::vector<float> logits(const char* backend_name, size_t piece) const {
    copy.save(folder_ / "variant.gguf");
    const gguf::Reader reader(folder_ / "variant.gguf");
    const auto backend = compute::make_backend(backend_name);
    const Model model(reader, *backend);
    schedule::Session session(model, static_cast<int64_t>(ids_.size()));
    std::vector<float> out;
    for (size_t begin = 0; begin < ids_.size(); begin += piece) {
      const auto part = std::span(ids_).subspan(begin, std::min(piece, ids_.size() - begin));
      const Matrix logits = session.logits(session.forward(part));
      for (int64_t t = 0; t < logits.rows; ++t) out.insert(out.end(), logits.row(t), logits.row(t) + logits.cols);
    }
    return out;
  }

  void expect_equal(double tolerance = kMaxDifference) const {
    const std::pair<const char*, size_t> runs[] = {{"ref", ids_.size()}, {"cpu", ids_.size()}, {"cpu", 20}};
    for (const auto& [backend, piece] : runs) {
      const std::vector<float> found = logits(backend, piece);
      ASSERT_EQ(found.size(), expected.size());
      double max = 0;
      for (size_t i = 0; i < found.size(); ++i) max = std::max(max, std::abs(double{found[i]} - expected[i]));
      EXPECT_LE(max, tolerance) << backend << ", " << piece << " tokens at once";
    }
  }

  void expect_refused(const std::string& reason) const {
    try {
      logits("cpu", ids_.size());
      FAIL() << "not refused";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }

 private:
  test::TempFolder folder_;

 public:
  test::ModelCopy copy;

 private:
  std::string architecture_;
  std::vector<int32_t> ids_;

 public:
  std::vector<float> expected;
};

std::string block(int64_t i, const std::string& name) { return "blk." + std::to_string(i) + "." + name; }

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

// The names of factors for short and long contexts; 48 positions are within 256 and beyond 47.
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
    model.expect_equal();
    model.copy.remove("rope_factors_long.weight");
    model.expect_refused("tensor rope_factors_long.weight is missing");
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
