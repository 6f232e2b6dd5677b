// Models with short convolutions, Mamba 2 and Kimi delta attention: their states over a session's life, what the
// observer is shown, other forms of their files, and which descriptions are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "gguf/reader.h"
#include "model/changed_model.h"
#include "schedule/layer_sweep.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

constexpr double kSame = 2e-4;  // rounding, of another order of the same sums
constexpr const char* kModels[] = {"lfm2", "lfm2moe", "nemotron_h_moe", "kimi-linear", "kimi-k3"};

std::vector<float> golden_logits(const std::string& name) {
  return test::read_values<float>(test::golden("models/" + name + "/logits_0.f32"));
}

std::vector<float> rows_of(Matrix x) {
  std::vector<float> out;
  for (int64_t t = 0; t < x.rows; ++t) out.insert(out.end(), x.row(t), x.row(t) + x.cols);
  return out;
}

class Mixers : public testing::TestWithParam<const char*> {
 protected:
  Mixers() : golden_(golden_logits(GetParam())) {}
  std::vector<float> golden_rows(size_t begin, size_t n) const {
    const size_t width = golden_.size() / 48;
    const auto from = golden_.begin() + static_cast<ptrdiff_t>(begin * width);
    return {from, from + static_cast<ptrdiff_t>(n * width)};
  }

  const ChangedModel file_{GetParam()};
  const gguf::Reader reader_{test::golden(std::string("models/") + GetParam() + "/model.gguf")};
  const std::vector<float> golden_;
};

INSTANTIATE_TEST_SUITE_P(Models, Mixers, testing::ValuesIn(kModels), [](const auto& instance) {
  std::string name = instance.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(Mixers, TokenByTokenAndAnew) {
  for (const char* kind : {"cpu", "ref"}) {
    const auto backend = compute::make_backend(kind);
    const Model model(reader_, *backend);
    schedule::Session session(model, 48);
    session.forward(std::span(file_.ids).subspan(5, 20));  // another text, which reset() must forget
    session.reset();
    for (size_t t = 0; t < file_.ids.size(); ++t) {
      const Matrix logits = session.logits(session.forward(std::span(file_.ids).subspan(t, 1)));
      ASSERT_LE(distance(rows_of(logits), golden_rows(t, 1)), 5e-4) << "token " << t << " on " << kind;
    }
  }
}

TEST_P(Mixers, SequencesHaveStatesOfTheirOwn) {
  const auto backend = compute::make_backend("cpu");
  const Model model(reader_, *backend);
  schedule::Session session(model, 48, 2);
  const std::span ids(file_.ids);
  session.forward_batch(std::vector<schedule::SequenceTokens>{{0, ids.subspan(7, 9)}, {1, ids.subspan(0, 30)}});
  const Matrix x =
      session.forward_batch(std::vector<schedule::SequenceTokens>{{1, ids.subspan(30)}, {0, ids.subspan(0, 4)}});
  EXPECT_LE(distance(rows_of(session.logits(x.slice(0, 18))), golden_rows(30, 18)), 5e-4);
}

// Every matrix of the file is shown, each once a batch, with its inputs' width; convolutions, norms and vectors are
// not.
class Names : public compute::MatmulObserver {
 public:
  void dense(Backend&, const Weight& weight, int64_t slice, Matrix x) override {
    EXPECT_EQ(x.cols, weight.n_in);
    EXPECT_TRUE(names.insert(weight.name).second || slice > 0) << weight.name << " twice";
  }
  void experts(Backend&, const Weight& weight, Matrix x, const Routing&) override {
    EXPECT_EQ(x.cols, weight.n_in);
    EXPECT_TRUE(names.insert(weight.name).second) << weight.name << " twice";
  }
  std::set<std::string> names;
};

TEST_P(Mixers, ObserverSeesEveryMatrix) {
  const auto backend = compute::make_backend("cpu");
  const Model model(reader_, *backend);
  schedule::LayerSweep sweep(model, std::ssize(file_.ids), [&](int64_t) { return file_.ids; });
  sweep.start(0, 1);
  Names seen;
  compute::MatmulObserver* const observer = &seen;
  for (int i = 0; i < model.n_layers(); ++i) sweep.run_layers(i, std::span(&observer, 1));
  std::set<std::string> expected;
  for (const gguf::TensorInfo& tensor : reader_.tensors()) {
    const std::string& name = tensor.name;
    const bool product = name.starts_with("blk.") && name.ends_with(".weight") && name.find("norm") == name.npos &&
                         name.find("conv1d") == name.npos && name.find("shortconv.conv.") == name.npos;
    if (product && tensor.ne[1] > 1) expected.insert(name);
  }
  EXPECT_GE(expected.size(), 14u);
  EXPECT_EQ(seen.names, expected);
}

// Layer by layer, each in two parts, the text has the states between layers that it has in one pass.
TEST_P(Mixers, PartsOfLayers) {
  const auto backend = compute::make_backend("cpu");
  const Model model(reader_, *backend);
  const auto states = [&](bool parts) {
    schedule::LayerSweep sweep(model, std::ssize(file_.ids), [&](int64_t) { return file_.ids; });
    sweep.start(0, 1);
    for (int i = 0; i < model.n_layers(); ++i) {
      const Layer layer = model.layer(i, 48);
      if (parts) sweep.advance(layer, LayerPart::kMixer);
      sweep.advance(layer, parts ? LayerPart::kFfn : LayerPart::kWhole);
    }
    std::vector<float> out;
    sweep.save([&](std::span<const float> values) { out.insert(out.end(), values.begin(), values.end()); });
    return out;
  };
  EXPECT_EQ(states(true), states(false));
}

TEST(MixerStates, Sizes) {
  const auto bytes = [](const char* name, size_t layer) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const auto backend = compute::make_backend("cpu");
    const Model model(reader, *backend);
    const AttentionConfig& config = model.config().layers[layer].attention;
    for (const int64_t n : {1, 100}) {  // a state does not grow with the text
      EXPECT_EQ(kv_layer_bytes(config, n), make_kv_layer(*backend, config, n).state.bytes) << name;
    }
    return kv_layer_bytes(config, 10);
  };
  EXPECT_EQ(bytes("lfm2", 0), 4u * 2 * 64);                         // three taps of 64 columns
  EXPECT_EQ(bytes("nemotron_h_moe", 0), 4u * (64 * 16 + 3 * 128));  // 16 numbers a column; four taps
  EXPECT_EQ(bytes("nemotron_h_moe", 1), 0u);                        // an FFN alone
  EXPECT_EQ(bytes("kimi-linear", 0), 4u * (4 * 16 * 16 + 3 * 3 * 64));
  EXPECT_EQ(bytes("kimi-k3", 0), 4u * (3 * 16 * 16 + 3 * 3 * 48));
}

// ---- LFM2

TEST(Lfm2, WindowsOfAttention) {
  ChangedModel model("lfm2");
  const std::vector<float> golden = golden_logits("lfm2");
  model.set("attention.sliding_window", 48);
  EXPECT_LE(distance(model.logits(), golden), kSame);
  model.set("attention.sliding_window", 8);
  std::vector<float> windowed = model.logits();
  EXPECT_LE(distance(model.logits("cpu", 1), windowed), kSame);
  EXPECT_GT(distance(windowed, golden), 1e-2);
  const size_t seen = golden.size() / 48 * 8;  // by the first tokens all is seen
  std::ranges::copy(std::span(golden).subspan(seen), windowed.begin() + static_cast<ptrdiff_t>(seen));
  EXPECT_LE(distance(windowed, golden), kSame);

  ChangedModel with_experts("lfm2moe");
  with_experts.set("attention.sliding_window", 8);  // not read
  EXPECT_LE(distance(with_experts.logits(), golden_logits("lfm2moe")), kSame);
}

TEST(Lfm2, OwnOutput) {
  ChangedModel model("lfm2");
  std::vector<float> output = model.values("token_embd.weight");
  for (float& value : output) value *= 2;
  model.put("output.weight", {64, 272, 1, 1}, output);
  std::vector<float> golden = golden_logits("lfm2");
  for (float& value : golden) value *= 2;
  EXPECT_LE(distance(model.logits(), golden), kSame);
}

// All layers of one kind: an array of equal numbers, or a number.
TEST(Lfm2, LayersOfOneKind) {
  ChangedModel model("lfm2");
  model.set("block_count", 1);
  std::erase_if(model.copy.tensors, [](const auto& tensor) {
    return tensor.info.name.starts_with("blk.") && !tensor.info.name.starts_with("blk.0.");
  });
  model.set("attention.head_count_kv", std::vector<uint32_t>{0});
  EXPECT_EQ(model.error(), "");
  model.set("attention.head_count_kv", 0);
  EXPECT_THAT(model.error(), HasSubstr("attention.head_count_kv is 0"));
  model.set("attention.head_count_kv", 2);
  EXPECT_THAT(model.error(), HasSubstr("blk.0.attn_q.weight is missing"));
}

TEST(Lfm2, Refusals) {
  ChangedModel model("lfm2");
  model.set("shortconv.l_cache", 4);
  EXPECT_THAT(model.error(), HasSubstr("blk.0.shortconv.conv.weight has shape [3, 64], expected [4, 64, 1]"));
  model.set("shortconv.l_cache", 0);
  EXPECT_THAT(model.error(), HasSubstr("shortconv.l_cache"));
  for (const char* name : {"blk.1.attn_q_norm.weight", "blk.0.shortconv.in_proj.weight", "token_embd_norm.weight"}) {
    ChangedModel without("lfm2");
    without.copy.remove(name);
    EXPECT_THAT(without.error(), HasSubstr(std::string(name) + " is missing"));
  }
  ChangedModel experts("lfm2moe");
  experts.copy.remove("blk.1.exp_probs_b.bias");
  EXPECT_THAT(experts.error(), HasSubstr("blk.1.exp_probs_b.bias is missing"));
  experts.erase("expert_gating_func");
  EXPECT_THAT(experts.error(), HasSubstr("expert_gating_func is missing"));
}

// ---- Nemotron

// [n_out, n_in] of two matrices, one after the other: a [n_mid, n_in] first.
std::vector<float> product(std::span<const float> b, std::span<const float> a, size_t n_in, size_t n_mid) {
  const size_t n_out = b.size() / n_mid;
  std::vector<float> out(n_out * n_in);
  for (size_t o = 0; o < n_out; ++o) {
    for (size_t i = 0; i < n_in; ++i) {
      double sum = 0;
      for (size_t m = 0; m < n_mid; ++m) sum += double{b[o * n_mid + m]} * a[m * n_in + i];
      out[o * n_in + i] = static_cast<float>(sum);
    }
  }
  return out;
}

// The projections around the experts multiplied into each.
TEST(Nemotron, ExpertsOfTheModelsWidth) {
  ChangedModel model("nemotron_h_moe");
  const size_t n = 6, width = 64, latent = 32, n_ff = 16;
  for (const int i : {1, 4}) {
    const std::vector<float> in = model.values(block(i, "ffn_latent_down.weight"));
    const std::vector<float> out = model.values(block(i, "ffn_latent_up.weight"));
    const std::vector<float> up = model.values(block(i, "ffn_up_exps.weight"));
    const std::vector<float> down = model.values(block(i, "ffn_down_exps.weight"));
    std::vector<float> wide_up, wide_down;
    for (size_t e = 0; e < n; ++e) {
      const size_t size = n_ff * latent;
      for (const float value : product(std::span(up).subspan(e * size, size), in, width, latent))
        wide_up.push_back(value);
      for (const float value : product(out, std::span(down).subspan(e * size, size), n_ff, latent))
        wide_down.push_back(value);
    }
    model.put(block(i, "ffn_up_exps.weight"), {64, 16, 6, 1}, wide_up);
    model.put(block(i, "ffn_down_exps.weight"), {16, 64, 6, 1}, wide_down);
    for (const char* name : {"ffn_latent_down.weight", "ffn_latent_up.weight"}) model.copy.remove(block(i, name));
  }
  model.erase("moe_latent_size");
  EXPECT_LE(distance(model.logits(), golden_logits("nemotron_h_moe")), kSame);
}

// Without what routed experts give, only the shared one is left: that is a dense FFN.
TEST(Nemotron, Dense) {
  ChangedModel model("nemotron_h_moe");
  for (const int i : {1, 4}) model.put(block(i, "ffn_latent_up.weight"), {32, 64, 1, 1}, std::vector<float>(32 * 64));
  const std::vector<float> expected = model.logits("ref");

  model.rename("nemotron_h");
  for (const int i : {1, 4}) {
    std::erase_if(model.copy.tensors, [&](const auto& tensor) {
      const std::string& name = tensor.info.name;
      return name.find("exp_probs") != name.npos || name.find("ffn_gate_inp") != name.npos ||
             name.find("_exps") != name.npos || name.find("latent") != name.npos;
    });
    model.rename_tensor(block(i, "ffn_up_shexp.weight"), block(i, "ffn_up.weight"));
    model.rename_tensor(block(i, "ffn_down_shexp.weight"), block(i, "ffn_down.weight"));
  }
  model.set("feed_forward_length", std::vector<uint32_t>{0, 24, 0, 0, 24});
  for (const char* backend : {"ref", "cpu"}) EXPECT_LE(distance(model.logits(backend), expected), kSame);

  // Biases act where they are.
  model.put(block(4, "ffn_up.bias"), {24, 1, 1, 1}, std::vector<float>(24, 0.5f));
  const std::vector<float> biased = model.logits("ref");
  EXPECT_GT(distance(biased, expected), 1e-2);
  EXPECT_LE(distance(model.logits("cpu"), biased), kSame);
}

TEST(Nemotron, OtherFormsOfKeysAndVectors) {
  ChangedModel model("nemotron_h_moe");
  model.set("expert_feed_forward_length", std::vector<uint32_t>{0, 16, 0, 0, 16});
  model.set("expert_used_count", std::vector<uint32_t>{0, 2, 0, 0, 2});
  model.erase("attention.layer_norm_rms_epsilon");  // attention.layer_norm_epsilon is the same
  model.set_real("attention.scale", 0.25f);         // one over the root of 16
  model.put("blk.0.ssm_a", {4, 1, 1, 1}, model.values("blk.0.ssm_a"));
  model.put("blk.3.ssm_conv1d.weight", {4, 1, 128, 1}, model.values("blk.3.ssm_conv1d.weight"));
  EXPECT_LE(distance(model.logits(), golden_logits("nemotron_h_moe")), kSame);
  model.set_real("attention.scale", 1.0f);
  EXPECT_GT(distance(model.logits(), golden_logits("nemotron_h_moe")), 1e-2);
  model.erase("attention.layer_norm_epsilon");
  EXPECT_THAT(model.error(), HasSubstr("attention.layer_norm_rms_epsilon"));
}

// Attention and experts in one block, after the trunk.
TEST(Nemotron, BlockForPrediction) {
  ChangedModel model("nemotron_h_moe");
  const auto copied = model.copy.tensors;
  for (auto tensor : copied) {
    const bool attention = tensor.info.name.starts_with("blk.2."), experts = tensor.info.name.starts_with("blk.4.");
    if (!attention && !experts) continue;
    std::string name = tensor.info.name.substr(6);
    if (experts && name == "attn_norm.weight") name = "post_attention_norm.weight";
    tensor.info.name = "blk.5." + name;
    model.copy.tensors.push_back(tensor);
  }
  model.put("blk.5.nextn.eh_proj.weight", {128, 64, 1, 1}, std::vector<float>(128 * 64, 0.01f));
  for (const char* name : {"enorm", "hnorm", "shared_head_norm"})
    model.put("blk.5.nextn." + std::string(name) + ".weight", {64, 1, 1, 1}, std::vector<float>(64, 1.0f));
  model.set("block_count", 6);
  model.set("nextn_predict_layers", 1);
  model.set("feed_forward_length", std::vector<uint32_t>{0, 64, 0, 0, 64, 64});
  model.set("attention.head_count_kv", std::vector<uint32_t>{0, 0, 2, 0, 0, 2});
  EXPECT_LE(distance(model.logits(), golden_logits("nemotron_h_moe")), kSame);
  test::TempFolder folder;
  model.copy.save(folder / "mtp.gguf");
  const gguf::Reader reader(folder / "mtp.gguf");
  const auto backend = compute::make_backend("cpu");
  const Model opened(reader, *backend);
  EXPECT_EQ(opened.n_predictions(), 1);
  const LayerConfig& layer = opened.config().prediction.front();
  EXPECT_TRUE(layer.attention.mixer == Mixer::kAttention && layer.ffn.n_expert == 6);
  EXPECT_TRUE(opened.config().centered_prediction);
}

TEST(Nemotron, Refusals) {
  const std::pair<const char*, uint32_t> keys[] = {{"ssm.inner_size", 66},    {"ssm.group_count", 3},
                                                   {"ssm.group_count", 0},    {"ssm.conv_kernel", 0},
                                                   {"ssm.time_step_rank", 0}, {"expert_count", 0}};
  for (const auto& [key, value] : keys) {
    ChangedModel model("nemotron_h_moe");
    model.set(key, value);
    EXPECT_THAT(model.error(), HasSubstr(key));
  }
  for (const char* name : {"blk.0.ssm_d", "blk.0.ssm_conv1d.bias", "blk.1.exp_probs_b.bias",
                           "blk.4.ffn_latent_up.weight", "blk.3.ssm_norm.weight"}) {
    ChangedModel model("nemotron_h_moe");
    model.copy.remove(name);
    EXPECT_THAT(model.error(), HasSubstr(std::string(name) + " is missing"));
  }
  ChangedModel wide("nemotron_h_moe");
  wide.set("ssm.state_size", 1u << 30);
  wide.set("ssm.group_count", 4);
  EXPECT_THAT(wide.error(), HasSubstr("wide, expected at most"));
}

// ---- Kimi

TEST(Kimi, OtherFormsOfTensors) {
  ChangedModel model("kimi-linear");
  model.put("blk.0.ssm_a", {4, 1, 1, 1}, model.values("blk.0.ssm_a"));
  model.put("blk.0.ssm_conv1d_q.weight", {4, 64, 1, 1}, model.values("blk.0.ssm_conv1d_q.weight"));
  model.put("blk.2.ssm_g.weight", {64, 64, 1, 1},
            product(model.values("blk.2.ssm_g_b.weight"), model.values("blk.2.ssm_g_a.weight"), 64, 16));
  for (const char* name : {"blk.2.ssm_g_a.weight", "blk.2.ssm_g_b.weight"}) model.copy.remove(name);
  std::vector<float> qkv;
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    for (const float value : model.values(name)) qkv.push_back(value);
    model.copy.remove(name);
  }
  model.put("blk.0.attn_qkv.weight", {64, 192, 1, 1}, qkv);
  for (const char* backend : {"ref", "cpu"})
    EXPECT_LE(distance(model.logits(backend), golden_logits("kimi-linear")), kSame) << backend;
}

// What is there, or not, without a key: each changes the logits.
TEST(Kimi, OptionalPartsOfK3) {
  const std::vector<float> golden = golden_logits("kimi-k3");
  const auto differs = [&](ChangedModel& model) {
    const std::vector<float> found = model.logits("ref");
    EXPECT_GT(distance(found, golden), 1e-3);
    EXPECT_LE(distance(model.logits("cpu", 7), found), 5e-4);
  };
  ChangedModel gate("kimi-k3");
  gate.copy.remove("blk.2.attn_gate.weight");
  differs(gate);
  ChangedModel norm("kimi-k3");
  norm.copy.remove("blk.1.ffn_routed_norm.weight");
  differs(norm);
  ChangedModel bound("kimi-k3");
  bound.erase("kda.gate_lower_bound");
  bound.put("blk.0.ssm_a", {3, 1, 1, 1}, {-0.1f, -0.2f, -0.3f});
  differs(bound);
  ChangedModel weights("kimi-k3");
  weights.erase("expert_weights_norm");
  for (const int i : {1, 2, 3}) weights.copy.remove(block(i, "ffn_routed_norm.weight"));
  differs(weights);
  ChangedModel banks("kimi-k3");
  banks.set("attn_res.block_size", 3);
  differs(banks);
}

// A bound of 0, or below, is none: as a very high one.
TEST(Kimi, LinearPartOfTheActivation) {
  ChangedModel none("kimi-k3"), high("kimi-k3");
  none.set_real("activation.situ_linear_beta", -1.0f);
  high.set_real("activation.situ_linear_beta", 1e4f);
  const std::vector<float> expected = none.logits("ref");
  EXPECT_LE(distance(high.logits("ref"), expected), kSame);
  EXPECT_LE(distance(none.logits("cpu"), expected), 5e-4);
  EXPECT_GT(distance(golden_logits("kimi-k3"), expected), 1e-2);
}

TEST(Kimi, WithoutBankedStates) {
  ChangedModel model("kimi-k3");
  model.set("attn_res.block_size", 0);
  EXPECT_THAT(model.error(), HasSubstr("res_score"));  // what would be left out
  std::erase_if(model.copy.tensors,
                [](const auto& tensor) { return tensor.info.name.find("res_score") != std::string::npos; });
  EXPECT_EQ(model.error(), "");
  EXPECT_LE(distance(model.logits("cpu"), model.logits("ref")), 5e-4);
}

TEST(Kimi, Refusals) {
  ChangedModel bound("kimi-k3");
  bound.set_real("kda.gate_lower_bound", 1.0f);
  EXPECT_THAT(bound.error(), HasSubstr("kda.gate_lower_bound is 1, expected at most 0"));
  const std::pair<const char*, uint32_t> keys[] = {
      {"kda.head_dim", 0}, {"kda.head_dim", 1000}, {"ssm.conv_kernel", 0}, {"rope.dimension_count", 24}};
  for (const auto& [key, value] : keys) {
    ChangedModel model("kimi-linear");
    model.set(key, value);
    EXPECT_THAT(model.error(), HasSubstr(key));
  }
  for (const char* key : {"activation.situ_beta", "activation.situ_linear_beta", "attn_res.block_size",
                          "expert_gating_func", "expert_shared_count", "attention.key_length_mla"}) {
    ChangedModel model("kimi-k3");
    model.erase(key);
    EXPECT_THAT(model.error(), HasSubstr(key));
  }
  for (const char* name : {"output_res_score.weight", "blk.3.ffn_res_score.weight", "blk.1.ssm_f_b.weight",
                           "blk.2.attn_q_a_norm.weight", "blk.1.ffn_routed_up.weight", "blk.2.exp_probs_b.bias"}) {
    ChangedModel model("kimi-k3");
    model.copy.remove(name);
    EXPECT_THAT(model.error(), HasSubstr(std::string(name) + " is missing"));
  }
}

}  // namespace
}  // namespace steelyard::model
