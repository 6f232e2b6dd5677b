// Granite 4 against a forward pass of its own, written from its formulas in double: there is no golden. Random weights;
// a layer of Mamba 2 and one of attention.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "model/changed_model.h"

namespace steelyard::model {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

constexpr int kEmbd = 64, kHeads = 4, kKvHeads = 2, kHead = 16, kFf = 24, kShared = 20, kExperts = 5, kUsed = 2;
constexpr int kInner = 32, kSsmHeads = 8, kState = 6, kGroups = 2, kTaps = 4;
constexpr int kConv = kInner + 2 * kGroups * kState;
constexpr double kEps = 1e-5, kEmbedding = 3.0, kResidual = 0.7, kLogit = 2.0, kScale = 0.3, kBase = 10000;

struct Granite {
  bool experts;
  bool rotated;
  std::map<std::string, std::vector<float>> tensors;

  // ---- the computation

  double at(const std::string& name, size_t i) const { return tensors.at(name)[i]; }

  Row times(const std::string& name, const Row& x, size_t slice = 0, size_t n_out = 0) const {
    const std::vector<float>& w = tensors.at(name + ".weight");
    if (n_out == 0) n_out = w.size() / x.size();
    Row out(n_out);
    for (size_t o = 0; o < n_out; ++o) {
      for (size_t i = 0; i < x.size(); ++i) out[o] += w[(slice * n_out + o) * x.size() + i] * x[i];
    }
    return out;
  }

  Row normed(const std::string& name, const Row& x, size_t first = 0) const {
    double sum = 0;
    for (const double value : x) sum += value * value;
    Row out = x;
    for (size_t i = 0; i < x.size(); ++i)
      out[i] *= at(name + ".weight", first + i) / std::sqrt(sum / static_cast<double>(x.size()) + kEps);
    return out;
  }

  static double silu(double z) { return z / (1 + std::exp(-z)); }

  Row gated(const std::string& block, const std::string& suffix, const Row& x, size_t slice, size_t n_ff) const {
    Row gate = times(block + "ffn_gate" + suffix, x, slice, n_ff);
    const Row up = times(block + "ffn_up" + suffix, x, slice, n_ff);
    for (size_t i = 0; i < n_ff; ++i) gate[i] = silu(gate[i]) * up[i];
    return times(block + "ffn_down" + suffix, gate, slice, kEmbd);
  }

  Row ffn(const std::string& block, const Row& x) const {
    if (!experts) return gated(block, "", x, 0, kFf);
    const Row logits = times(block + "ffn_gate_inp", x);
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    double sum = 0;  // the softmax of all, renormalised over the chosen
    for (size_t i = 0; i < kUsed; ++i) sum += std::exp(logits[order[i]]);
    Row out = gated(block, "_shexp", x, 0, kShared);
    for (size_t i = 0; i < kUsed; ++i) {
      const Row y = gated(block, "_exps", x, order[i], kFf);
      for (size_t c = 0; c < kEmbd; ++c) out[c] += std::exp(logits[order[i]]) / sum * y[c];
    }
    return out;
  }

  Rows mamba(const std::string& block, const Rows& x) const {
    Rows in, out;
    std::vector<double> state(kInner * kState);
    for (const Row& row : x) {
      in.push_back(times(block + "ssm_in", row));  // [z | values, writes, reads | steps]
      Row mixed(kConv);
      for (size_t c = 0; c < kConv; ++c) {
        double sum = at(block + "ssm_conv1d.bias", c);
        for (size_t tap = 0; tap < kTaps; ++tap) {
          if (in.size() + tap < kTaps) continue;
          sum += at(block + "ssm_conv1d.weight", c * kTaps + tap) * in[in.size() + tap - kTaps][kInner + c];
        }
        mixed[c] = silu(sum);
      }
      Row y(kInner);
      constexpr size_t kWidth = kInner / kSsmHeads;
      for (size_t h = 0; h < kSsmHeads; ++h) {
        const double step = std::log1p(std::exp(in.back()[kInner + kConv + h] + at(block + "ssm_dt.bias", h)));
        const size_t group = h / (kSsmHeads / kGroups);
        for (size_t c = h * kWidth; c < (h + 1) * kWidth; ++c) {
          y[c] = at(block + "ssm_d", h) * mixed[c];
          for (size_t s = 0; s < kState; ++s) {
            double& at_state = state[c * kState + s];
            at_state = std::exp(step * at(block + "ssm_a", h)) * at_state +
                       step * mixed[c] * mixed[kInner + group * kState + s];
            y[c] += at_state * mixed[kInner + (kGroups + group) * kState + s];
          }
          y[c] *= silu(in.back()[c]);
        }
      }
      Row all;
      for (size_t group = 0; group < kGroups; ++group) {
        constexpr size_t kOfGroup = kInner / kGroups;
        const auto begin = y.begin() + static_cast<ptrdiff_t>(group * kOfGroup);
        const Row part = normed(block + "ssm_norm", Row(begin, begin + kOfGroup), group * kOfGroup);
        all.insert(all.end(), part.begin(), part.end());
      }
      out.push_back(times(block + "ssm_out", all));
    }
    return out;
  }

  // Pairs of neighbours.
  void rotate(Row& x, size_t position) const {
    for (size_t i = 0; rotated && i < x.size(); i += 2) {
      const double angle = static_cast<double>(position) * std::pow(kBase, -static_cast<double>(i % kHead) / kHead);
      const double a = x[i], b = x[i + 1];
      x[i] = a * std::cos(angle) - b * std::sin(angle);
      x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
  }

  Rows attention(const std::string& block, const Rows& x) const {
    Rows keys, values, out;
    for (const Row& row : x) {
      Row q = times(block + "attn_q", row), k = times(block + "attn_k", row), mixed(kHeads * kHead);
      rotate(q, keys.size());
      rotate(k, keys.size());
      keys.push_back(k);
      values.push_back(times(block + "attn_v", row));
      for (size_t h = 0; h < kHeads; ++h) {
        const size_t kv = h * kKvHeads / kHeads;
        double sum = 0;
        Row weights;
        for (const Row& key : keys) {
          double score = 0;
          for (size_t c = 0; c < kHead; ++c) score += q[h * kHead + c] * key[kv * kHead + c];
          weights.push_back(std::exp(kScale * score));
          sum += weights.back();
        }
        for (size_t t = 0; t < keys.size(); ++t) {
          for (size_t c = 0; c < kHead; ++c) mixed[h * kHead + c] += weights[t] / sum * values[t][kv * kHead + c];
        }
      }
      out.push_back(times(block + "attn_output", mixed));
    }
    return out;
  }

  std::vector<float> logits(std::span<const int32_t> ids) const {
    Rows x;
    for (const int32_t id : ids) {
      Row row(kEmbd);
      for (size_t c = 0; c < kEmbd; ++c)
        row[c] = kEmbedding * at("token_embd.weight", static_cast<size_t>(id) * kEmbd + c);
      x.push_back(row);
    }
    for (int i = 0; i < 2; ++i) {
      const std::string name = block(i, "");
      Rows h;
      for (const Row& row : x) h.push_back(normed(name + "attn_norm", row));
      const Rows mixed = i == 0 ? mamba(name, h) : attention(name, h);
      for (size_t t = 0; t < x.size(); ++t) {
        for (size_t c = 0; c < kEmbd; ++c) x[t][c] += kResidual * mixed[t][c];
        const Row y = ffn(name, normed(name + "ffn_norm", x[t]));
        for (size_t c = 0; c < kEmbd; ++c) x[t][c] += kResidual * y[c];
      }
    }
    std::vector<float> out;
    for (const Row& row : x) {
      for (const double logit : times("token_embd", normed("output_norm", row)))
        out.push_back(static_cast<float>(logit / kLogit));
    }
    return out;
  }
};

// A file for it, from the metadata of another one.
class File {
 public:
  File(bool experts, bool rotated) : model("nemotron_h_moe"), granite{experts, rotated, {}} {
    model.rename("granitehybrid");
    model.copy.tensors.clear();
    for (const char* key : {"expert_feed_forward_length", "moe_latent_size", "attention.layer_norm_epsilon",
                            "expert_shared_count", "expert_weights_scale", "expert_weights_norm"})
      model.erase(key);
    const std::pair<const char*, uint32_t> keys[] = {{"block_count", 2},          {"feed_forward_length", kFf},
                                                     {"ssm.conv_kernel", kTaps},  {"ssm.inner_size", kInner},
                                                     {"ssm.state_size", kState},  {"ssm.time_step_rank", kSsmHeads},
                                                     {"ssm.group_count", kGroups}};
    for (const auto& [key, value] : keys) model.set(key, value);
    model.set("attention.head_count_kv", std::vector<uint32_t>{0, kKvHeads});
    model.set("expert_count", experts ? kExperts : 0);
    model.set("expert_used_count", kUsed);
    model.set("expert_shared_feed_forward_length", experts ? kShared : 0);
    model.set_real("embedding_scale", kEmbedding);
    model.set_real("residual_scale", kResidual);
    model.set_real("attention.scale", kScale);
    model.set_real("logit_scale", kLogit);
    if (!rotated) model.copy.metadata.set_boolean(model.key("rope.scaling.finetuned"), false);

    matrix("token_embd", kEmbd, 272);
    norm("output_norm", kEmbd);
    for (int i = 0; i < 2; ++i) {
      norm(block(i, "attn_norm"), kEmbd);
      norm(block(i, "ffn_norm"), kEmbd);
      if (experts) {
        matrix(block(i, "ffn_gate_inp"), kEmbd, kExperts);
        ffn(i, "_exps", kFf, kExperts);
        ffn(i, "_shexp", kShared, 1);
      } else {
        ffn(i, "", kFf, 1);
      }
    }
    matrix(block(0, "ssm_in"), kEmbd, kInner + kConv + kSsmHeads);
    matrix(block(0, "ssm_out"), kInner, kEmbd);
    put(block(0, "ssm_conv1d.weight"), {kTaps, kConv, 1, 1}, 0, 0.5);
    put(block(0, "ssm_conv1d.bias"), {kConv, 1, 1, 1}, 0, 0.3);
    put(block(0, "ssm_dt.bias"), {kSsmHeads, 1, 1, 1}, 0, 0.5);
    put(block(0, "ssm_d"), {1, kSsmHeads, 1, 1}, 1, 0.3);
    put(block(0, "ssm_a"), {1, kSsmHeads, 1, 1}, 0, 0.3);
    for (float& a : granite.tensors[block(0, "ssm_a")]) a = -std::abs(a) - 0.05f;
    model.put(block(0, "ssm_a"), {1, kSsmHeads, 1, 1}, granite.tensors[block(0, "ssm_a")]);
    put(block(0, "ssm_norm.weight"), {kInner / kGroups, kGroups, 1, 1}, 1, 0.3);
    matrix(block(1, "attn_q"), kEmbd, kHeads * kHead);
    matrix(block(1, "attn_k"), kEmbd, kKvHeads * kHead);
    matrix(block(1, "attn_v"), kEmbd, kKvHeads * kHead);
    matrix(block(1, "attn_output"), kHeads * kHead, kEmbd);
  }

  ChangedModel model;
  Granite granite;

 private:
  void put(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne, double mean, double deviation) {
    std::normal_distribution<double> normal(mean, deviation);
    std::vector<float> values(static_cast<size_t>(ne[0] * ne[1] * ne[2]));
    for (float& value : values) value = static_cast<float>(normal(random_));
    model.put(name, ne, values);
    granite.tensors[name] = values;
  }
  void matrix(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) {
    put(name + ".weight", {n_in, n_out, n_slices, 1}, 0, 1.5 / std::sqrt(static_cast<double>(n_in)));
  }
  void norm(const std::string& name, int64_t n) { put(name + ".weight", {n, 1, 1, 1}, 1, 0.3); }
  void ffn(int i, const std::string& suffix, int64_t n_ff, int64_t n) {
    matrix(block(i, "ffn_gate" + suffix), kEmbd, n_ff, n);
    matrix(block(i, "ffn_up" + suffix), kEmbd, n_ff, n);
    matrix(block(i, "ffn_down" + suffix), n_ff, kEmbd, n);
  }

  std::mt19937 random_{7};
};

TEST(GraniteHybrid, IsItsFormulas) {
  for (const bool experts : {true, false}) {
    for (const bool rotated : {true, false}) {
      const File file(experts, rotated);
      const std::vector<float> expected = file.granite.logits(file.model.ids);
      EXPECT_LE(distance(file.model.logits("ref"), expected), 2e-4) << experts << rotated;
      EXPECT_LE(distance(file.model.logits("cpu"), expected), 2e-4) << experts << rotated;
      EXPECT_LE(distance(file.model.logits("cpu", 5), expected), 2e-4) << experts << rotated;
    }
  }
}

TEST(GraniteHybrid, AbsentScales) {
  File file(true, true);
  for (const char* key : {"embedding_scale", "residual_scale", "logit_scale"}) file.model.set_real(key, 1.0f);
  file.model.set_real("attention.scale", 0.25f);  // one over the root of 16
  const std::vector<float> expected = file.model.logits("ref");
  for (const char* key : {"embedding_scale", "residual_scale", "attention.scale"}) file.model.erase(key);
  file.model.set_real("logit_scale", 0.0f);  // none
  EXPECT_EQ(file.model.logits("ref"), expected);
}

TEST(GraniteHybrid, Refusals) {
  using testing::HasSubstr;
  for (const char* name : {"blk.0.ssm_in.weight", "blk.1.ffn_up_shexp.weight", "blk.1.attn_k.weight"}) {
    File file(true, false);
    file.model.copy.remove(name);
    EXPECT_THAT(file.model.error(), HasSubstr(std::string(name) + " is missing"));
  }
  File file(true, false);
  file.model.set_real("residual_scale", -1.0f);
  EXPECT_THAT(file.model.error(), HasSubstr("residual_scale"));
}

}  // namespace
}  // namespace steelyard::model
