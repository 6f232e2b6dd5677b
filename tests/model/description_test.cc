// What the goldens do not cover of the descriptions of llama's relatives: keys that are absent, tensors that are
// optional, other names for the same model, and what is refused.
#include <cmath>

#include "model/forward.h"
#include "model/variant.h"

namespace steelyard::model {
namespace {

TEST(Description, OtherNamesOfTheSameModel) {
  for (const char* name : {"mistral3", "ernie4_5"}) {
    Variant model("llama");
    model.rename(name);
    model.expect_equal();
  }
  Variant experts("mixtral");
  experts.rename("mistral3");
  experts.expect_equal();
  Variant latent("deepseek2");
  latent.rename("mistral4");
  latent.expect_equal();
}

TEST(Description, RequiredTensors) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"olmoe", {"attn_q_norm.weight", "attn_k_norm.weight"}},
      {"olmo2", {"attn_q_norm.weight", "attn_k_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight"}},
      {"exaone4", {"attn_q_norm.weight", "attn_k_norm.weight", "post_ffw_norm.weight"}},
      {"hunyuan-moe", {"attn_q_norm.weight", "ffn_up_shexp.weight"}},
      {"dots1", {"attn_k_norm.weight", "ffn_down_shexp.weight"}},
      {"bailingmoe2", {"attn_q_norm.weight", "ffn_gate_shexp.weight"}},
      {"qwen2moe", {"ffn_gate_inp_shexp.weight"}},
      {"glm4", {"ffn_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight", "ffn_up.weight"}},
      {"gemma2", {"ffn_norm.weight", "post_attention_norm.weight", "post_ffw_norm.weight"}},
      {"seed_oss", {"post_attention_norm.weight"}},
      {"cohere2", {"attn_norm.weight"}},
      {"qwen35", {"attn_gate.weight", "ssm_beta.weight", "post_attention_norm.weight"}},
  };
  for (const auto& [name, tensors] : cases) {
    for (const std::string& tensor : tensors) {
      Variant model(name);
      model.copy.remove(block(1, tensor));
      model.expect_refused("tensor blk.1." + tensor + " is missing");
    }
  }
  for (const char* name : {"qwen2moe", "olmoe", "olmo2", "dots1", "bailingmoe2"}) {
    Variant model(name);
    model.copy.remove("output.weight");
    model.expect_refused("tensor output.weight is missing");
  }
}

// A file may have an output that is not used, or none where others have one.
TEST(Description, Outputs) {
  for (const char* name : {"cohere2", "gemma2"}) {
    Variant model(name);
    const int64_t n = model.integer("embedding_length");
    model.put("output.weight", {n, 272, 1, 1}, std::vector<float>(static_cast<size_t>(n * 272), 1.0f));
    model.expect_equal(std::string(name) == "gemma2" ? 5e-3 : kMaxDifference);
  }
  for (const char* name : {"phi3", "glm4", "seed_oss"}) {
    Variant model(name);
    const auto output = *model.copy.find("output.weight");
    *model.copy.find("token_embd.weight") = output;
    model.copy.find("output.weight")->info.name = "token_embd.weight";
    const std::vector<float> both = model.logits("ref", 48);
    model.copy.remove("token_embd.weight");
    model.copy.tensors.push_back(output);
    model.copy.tensors.back().info.name = "token_embd.weight";
    model.copy.remove("output.weight");
    EXPECT_EQ(model.logits("ref", 48), both) << name;
  }
}

TEST(Description, RefusedKeys) {
  const std::pair<const char*, const char*> missing[] = {
      {"cohere2", "attention.layer_norm_epsilon"},
      {"cohere2", "logit_scale"},
      {"cohere2", "attention.sliding_window"},
      {"granite", "logit_scale"},
      {"granitemoe", "logit_scale"},
      {"dots1", "expert_gating_func"},
      {"bailingmoe2", "expert_gating_func"},
      {"dots1", "expert_shared_count"},
      {"ernie4_5-moe", "interleave_moe_layer_step"},
      {"qwen35", "rope.dimension_sections"},
      {"qwen35", "ssm.state_size"},
  };
  for (const auto& [name, key] : missing) {
    Variant model(name);
    model.copy.metadata.erase(model.key(key));
    model.expect_refused(model.key(key));
  }
  const std::tuple<const char*, const char*, float> wrong[] = {
      {"granite", "logit_scale", 0.0f},
      {"granite", "residual_scale", -1.0f},
      {"cohere2", "logit_scale", 0.0f},
      {"gemma2", "attn_logit_softcapping", -3.0f},
      {"gemma2", "final_logit_softcapping", 0.0f},
  };
  for (const auto& [name, key, value] : wrong) {
    Variant model(name);
    model.copy.metadata.set_real(model.key(key), value);
    model.expect_refused(model.key(key));
  }
  for (const char* name : {"qwen2moe", "olmoe", "smollm3", "seed_oss", "exaone4", "olmo2", "hunyuan-moe", "granite"}) {
    Variant model(name);
    model.copy.metadata.set_integer(model.key("rope.dimension_count"), 8);  // heads are rotated as a whole
    model.expect_refused(model.key("rope.dimension_count"));
  }
  for (const char* name : {"qwen2moe", "olmoe", "hunyuan-moe", "dots1", "bailingmoe2", "ernie4_5-moe"}) {
    Variant model(name);
    model.copy.metadata.set_integer(model.key("expert_count"), 0);
    model.expect_refused(model.key("expert_count"));
  }
  Variant step("ernie4_5-moe");
  step.copy.metadata.set_integer(step.key("interleave_moe_layer_step"), 0);
  step.expect_refused(step.key("interleave_moe_layer_step"));
}

// Numbers that others read, and this architecture does not.
TEST(Description, KeysThatAreNotRead) {
  const std::tuple<const char*, const char*, float> cases[] = {
      {"cohere2", "attention.layer_norm_rms_epsilon", 5.0f},
      {"granitemoe", "expert_weights_scale", 3.0f},
      {"hunyuan-moe", "expert_weights_scale", 3.0f},
      {"olmoe", "expert_weights_scale", 3.0f},
      {"qwen2moe", "expert_weights_scale", 3.0f},
      {"ernie4_5-moe", "expert_weights_scale", 3.0f},
      {"seed_oss", "attention.scale", 3.0f},
      {"cohere2", "rope.freq_base_swa", 300.0f},
      {"olmo3", "rope.freq_base_swa", 300.0f},
  };
  for (const auto& [name, key, value] : cases) {
    Variant model(name);
    model.copy.metadata.set_real(model.key(key), value);
    model.expect_equal();
  }
  Variant eps("cohere2");
  eps.copy.metadata.erase(eps.key("attention.layer_norm_rms_epsilon"));
  eps.expect_equal();
  Variant window("exaone4");
  window.copy.metadata.set_integer(window.key("attention.sliding_window"), 5);
  window.expect_equal();
  Variant no_window("olmo2");
  no_window.copy.metadata.set_integer(no_window.key("attention.sliding_window"), 0);
  no_window.expect_equal();
  Variant rotated("granitemoe");
  rotated.copy.metadata.set_boolean(rotated.key("rope.scaling.finetuned"), false);
  rotated.expect_equal();
}

TEST(Description, WindowsAsArray) {
  for (const auto& [name, period] : {std::pair("gemma2", 2), {"olmo3", 4}, {"cohere2", 4}}) {
    Variant model(name);
    const std::vector<float> plain = model.logits("ref", 48);
    std::vector<bool> flags;
    for (int i = 0; i < model.integer("block_count"); ++i) flags.push_back(i % period < period - 1);
    model.set_flags("attention.sliding_window_pattern", flags);
    EXPECT_EQ(model.logits("ref", 48), plain) << name;
    flags[0] = !flags[0];
    model.set_flags("attention.sliding_window_pattern", flags);
    EXPECT_NE(model.logits("ref", 48), plain) << name;
  }
}

TEST(Description, GraniteScales) {
  Variant model("granite");
  for (const char* key : {"embedding_scale", "residual_scale", "attention.scale"})
    model.copy.metadata.erase(model.key(key));
  const std::vector<float> absent = model.logits("ref", 48);
  model.copy.metadata.set_real(model.key("embedding_scale"), 1);
  model.copy.metadata.set_real(model.key("residual_scale"), 0);  // none
  model.copy.metadata.set_real(model.key("attention.scale"), 0.25f);
  EXPECT_EQ(model.logits("ref", 48), absent);

  model.copy.metadata.set_boolean(model.key("rope.scaling.finetuned"), true);
  EXPECT_EQ(model.logits("ref", 48), absent);
  model.copy.metadata.set_boolean(model.key("rope.scaling.finetuned"), false);
  EXPECT_FALSE(model.config().layers[0].attention.rotates());
  model.expected = model.logits("ref", 48);
  EXPECT_NE(model.expected, absent);
  model.expect_equal();
}

TEST(Description, ErnieInterleavesExperts) {
  Variant model("ernie4_5-moe");  // one dense block, one with experts
  model.copy.metadata.set_integer(model.key("leading_dense_block_count"), 0);
  model.expect_refused("tensor blk.0.ffn_gate_shexp.weight is missing");
  model.copy.metadata.set_integer(model.key("interleave_moe_layer_step"), 2);
  model.expect_equal();
  model.copy.metadata.erase(model.key("leading_dense_block_count"));
  model.expect_equal();
  model.copy.metadata.set_integer(model.key("expert_shared_feed_forward_length"), 0);
  for (const char* part : {"gate", "up", "down"})
    model.copy.remove(block(1, "ffn_" + std::string(part) + "_shexp.weight"));
  EXPECT_NE(model.logits("cpu", 48), model.expected);
}

TEST(Description, WidthsOfSharedExperts) {
  EXPECT_EQ(Variant("bailingmoe2").config().layers[1].ffn.n_ff_shared, 16);
  Variant ling("bailingmoe2");
  ling.copy.metadata.set_integer(ling.key("expert_shared_count"), 3);
  EXPECT_EQ(ling.config().layers[1].ffn.n_ff_shared, 3 * 16);
  ling.copy.metadata.erase(ling.key("expert_shared_feed_forward_length"));
  EXPECT_EQ(ling.config().layers[1].ffn.n_ff_shared, 3 * 8);
  Variant hunyuan("hunyuan-moe");
  hunyuan.copy.metadata.erase(hunyuan.key("expert_shared_feed_forward_length"));
  EXPECT_EQ(hunyuan.config().layers[0].ffn.n_ff_shared, 12);
  Variant qwen("qwen2moe");
  qwen.copy.metadata.erase(qwen.key("expert_shared_feed_forward_length"));
  EXPECT_EQ(qwen.config().layers[0].ffn.n_ff_shared, 48);
  qwen.copy.metadata.erase(qwen.key("expert_feed_forward_length"));
  EXPECT_EQ(qwen.config().layers[0].ffn.n_ff, 48 / 2);
}

TEST(Description, GemmaDefaults) {
  Variant model("gemma2");
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window"})
    model.copy.metadata.erase(model.key(key));
  const ModelConfig config = model.config();
  EXPECT_EQ(config.logit_softcap, 30);
  EXPECT_EQ(config.layers[0].attention.softcap, 50);
  EXPECT_EQ(config.layers[0].attention.window, 4096);
  EXPECT_EQ(config.layers[1].attention.window, 0);
  model.copy.metadata.set_integer(model.key("block_count"), 46);  // the 27B model
  EXPECT_FLOAT_EQ(model.config().layers[1].attention.scale, 1.0f / std::sqrt(16.0f));
}

// Published files do not say that they are longrope.
TEST(Description, PhiWithAndWithoutFactors) {
  Variant model("phi3");
  model.copy.metadata.set_integer(model.key("rope.scaling.original_context_length"), 16);
  model.expect_equal(kMaxDifference, 20);
  model.copy.metadata.erase(model.key("rope.scaling.type"));
  model.expect_equal(kMaxDifference, 20);
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) model.copy.remove(name);
  model.expected = model.logits("ref", 48);
  model.copy.metadata.set_string(model.key("rope.scaling.type"), "none");
  model.expect_equal();
  model.copy.metadata.set_string(model.key("rope.scaling.type"), "longrope");
  model.expect_refused("tensor rope_factors_short.weight is missing");
}

TEST(Description, SplitProjections) {
  Variant model("phi3");
  model.copy.metadata.set_integer(model.key("rope.scaling.original_context_length"), 16);
  const int64_t width = model.integer("embedding_length");
  for (int64_t i = 0; i < model.integer("block_count"); ++i) {
    const std::vector<float> all = model.values(block(i, "attn_qkv.weight"));
    model.copy.remove(block(i, "attn_qkv.weight"));
    size_t begin = 0;
    for (const auto& [name, rows] : {std::pair("attn_q.weight", 64), {"attn_k.weight", 32}, {"attn_v.weight", 32}}) {
      const size_t n = static_cast<size_t>(rows * width);
      const auto from = all.begin() + static_cast<ptrdiff_t>(begin);
      model.put(block(i, name), {width, rows, 1, 1}, {from, from + static_cast<ptrdiff_t>(n)});
      begin += n;
    }
  }
  model.expect_equal(kMaxDifference, 20);
}

// Models that see images: time, height and width are one position in text.
TEST(Description, GlmSections) {
  Variant model("glm4");
  model.set("rope.dimension_sections", std::vector<uint32_t>{0, 0, 0, 0});
  model.expect_equal();
  model.set("rope.dimension_sections", std::vector<uint32_t>{2, 1, 1, 0});
  EXPECT_EQ(model.config().layers[0].attention.rope.pairs, compute::RopePairs::kNeox);
  model.set("rope.dimension_sections", std::vector<uint32_t>{1, 1, 1, 1});
  model.expect_refused("rope.dimension_sections leaves pairs to a fourth position");
}

TEST(Description, ExaoneOf64Blocks) {
  Variant model("exaone4_64");
  const ModelConfig config = model.config();
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(config.layers[i].attention.window, i % 4 == 3 ? 0 : 10);
    EXPECT_EQ(config.layers[i].attention.rotates(), i % 4 != 3);
  }
  model.copy.metadata.erase(model.key("attention.sliding_window"));
  EXPECT_EQ(model.config().layers[0].attention.window, 4096);
}

// Of a block for prediction the last norm has one of two names, which no other block has.
TEST(Description, NormsOfPredictionBlocks) {
  Variant model("bailingmoe2");
  model.copy.remove("blk.2.nextn.shared_head_norm.weight");
  model.expect_equal();
  model.put("blk.1.layer_output_norm.weight", {64, 1, 1, 1}, std::vector<float>(64, 1.0f));
  model.expect_refused("tensor blk.1.layer_output_norm.weight");
}

TEST(Description, MistralYarn) {
  Variant model("llama");
  model.rename("mistral3");
  model.copy.metadata.set_string(model.key("rope.scaling.type"), "yarn");
  model.copy.metadata.set_real(model.key("rope.scaling.factor"), 16);
  EXPECT_EQ(model.config().layers[0].attention.rope.beta_fast, 32);
  EXPECT_DOUBLE_EQ(model.config().layers[0].attention.rope.magnitude, 1 + 0.1 * std::log(16.0));
  model.copy.metadata.set_real(model.key("rope.scaling.yarn_log_multiplier"), 1);
  EXPECT_DOUBLE_EQ(model.config().layers[0].attention.rope.magnitude, 1);
  const std::vector<float> plain = model.logits("ref", 48);
  model.copy.metadata.set_real(model.key("rope.scaling.yarn_beta_fast"), 4);
  EXPECT_EQ(model.config().layers[0].attention.rope.beta_fast, 4);
  EXPECT_NE(model.logits("ref", 48), plain);

  Variant latent("deepseek2_yarn");
  const double log_multiplier = latent.copy.metadata.real(latent.key("rope.scaling.yarn_log_multiplier"), 0.0);
  const AttentionConfig before = latent.config().layers[0].attention;
  latent.rename("mistral4");
  const AttentionConfig after = latent.config().layers[0].attention;
  const double log = std::log(before.rope.factor);
  const double ratio = (1 + 0.1 * log) / (1 + log_multiplier * log);
  EXPECT_DOUBLE_EQ(after.rope.magnitude, before.rope.magnitude * ratio);
  EXPECT_FLOAT_EQ(after.scale, static_cast<float>(before.scale * ratio * ratio));
}

// Queries beyond so many positions grow with the logarithm of how many times as far they are.
TEST(Description, TemperatureOfQueries) {
  const auto backend = compute::make_backend("ref");
  Scratch scratch(*backend);
  ForwardContext ctx{*backend, scratch, 0};
  AttentionConfig config;
  config.temperature = 0.5f;
  config.temperature_length = 4;
  std::vector<float> values(2 * 12, 1.0f);
  const SequenceSlice sequences[] = {{0, 10, 3, nullptr}, {10, 2, 0, nullptr}};
  temper_queries(config, {values.data(), 12, 2, 2}, sequences, ctx);
  for (int64_t row = 0; row < 12; ++row) {
    const int64_t position = row < 10 ? row + 3 : row - 10;
    const double factor = 1 + 0.5 * std::log(static_cast<double>(position / 4 + 1));
    EXPECT_FLOAT_EQ(values[static_cast<size_t>(2 * row)], static_cast<float>(factor)) << row;
    EXPECT_EQ(values[static_cast<size_t>(2 * row + 1)], values[static_cast<size_t>(2 * row)]);
  }
}

TEST(Description, TemperatureInModels) {
  for (const auto& [golden, name, length] : {std::tuple("llama", "mistral3", "rope.scaling.original_context_length"),
                                             {"deepseek2", "mistral4", "attention.temperature_length"},
                                             {"deepseek2", "deepseek2", "attention.temperature_length"}}) {
    Variant model(golden);
    model.rename(name);
    model.copy.metadata.set_real(model.key("attention.temperature_scale"), 0.5f);
    model.copy.metadata.set_integer(model.key(length), 48);  // no query is beyond it
    model.expect_equal();
    model.copy.metadata.set_integer(model.key(length), 13);
    const std::vector<float> found = model.logits("ref", 48);
    const auto first = static_cast<ptrdiff_t>(13 * 272);
    EXPECT_TRUE(std::equal(found.begin(), found.begin() + first, model.expected.begin(),
                           [](float a, float b) { return std::abs(a - b) < kMaxDifference; }));
    EXPECT_NE(found, model.expected);
    model.expected = found;
    model.expect_equal();
  }
  Variant model("deepseek2");
  model.copy.metadata.set_real(model.key("attention.temperature_scale"), 0.5f);
  model.expect_refused("deepseek2.attention.temperature_length");
}

}  // namespace
}  // namespace steelyard::model
