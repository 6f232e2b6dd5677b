// Models with gated delta nets: their state over a session's life, older layouts, what the observer is shown, and which
// descriptions are refused.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "model/architecture.h"
#include "model/model.h"
#include "model/opening.h"
#include "schedule/layer_sweep.h"
#include "support.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

// A golden model and its first sequence.
struct Golden {
  explicit Golden(const std::string& name) : folder(test::golden("models/" + name) + "/") {
    ids = nlohmann::json::parse(test::read_text(folder + "tokens.json"))["sequences"][0].get<std::vector<int32_t>>();
    logits = test::read_values<float>(folder + "logits_0.f32");
  }
  std::string path() const { return folder + "model.gguf"; }

  std::string folder;
  std::vector<int32_t> ids;
  std::vector<float> logits;
};

// Rows of logits that are those of the golden from row `begin` on.
void expect_golden(Matrix found, const Golden& golden, size_t begin) {
  for (int64_t t = 0; t < found.rows; ++t) {
    for (int64_t c = 0; c < found.cols; ++c) {
      ASSERT_NEAR(
          found.row(t)[c],
          golden.logits[(begin + static_cast<size_t>(t)) * static_cast<size_t>(found.cols) + static_cast<size_t>(c)],
          5e-4)
          << "token " << begin + static_cast<size_t>(t);
    }
  }
}

TEST(DeltaNetModel, TokenByTokenAndAnew) {
  for (const char* name : {"qwen3next", "qwen35moe"}) {
    for (const char* kind : {"cpu", "ref"}) {
      const Golden golden(name);
      const gguf::Reader reader(golden.path());
      const auto backend = compute::make_backend(kind);
      const Model model(reader, *backend);
      schedule::Session session(model, 48);
      session.forward(std::span(golden.ids).subspan(5, 20));  // another text, which reset() must forget
      session.reset();
      for (size_t t = 0; t < golden.ids.size(); ++t) {
        expect_golden(session.logits(session.forward(std::span(golden.ids).subspan(t, 1))), golden, t);
      }
    }
  }
}

TEST(DeltaNetModel, SequencesHaveStatesOfTheirOwn) {
  const Golden golden("qwen3next");
  const gguf::Reader reader(golden.path());
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend);
  schedule::Session session(model, 48, 2);
  const std::span ids(golden.ids);
  session.forward_batch(std::vector<schedule::SequenceTokens>{{0, ids.subspan(7, 9)}, {1, ids.subspan(0, 30)}});
  const Matrix x =
      session.forward_batch(std::vector<schedule::SequenceTokens>{{1, ids.subspan(30)}, {0, ids.subspan(0, 4)}});
  expect_golden(session.logits(x.slice(0, 18)), golden, 30);
}

// A golden with metadata or tensors changed, and bytes by tensor name; a tensor without bytes keeps its own or is
// zeros.
class Changed {
  gguf::Reader source_;
  test::TempFolder folder_;

 public:
  explicit Changed(const std::string& path)
      : source_(path), metadata(source_.metadata()), tensors(source_.tensors().begin(), source_.tensors().end()) {}

  gguf::Metadata metadata;
  std::vector<gguf::TensorInfo> tensors;
  std::map<std::string, std::vector<float>> values;

  std::vector<float> original(const std::string& name) const {
    const gguf::TensorInfo* tensor = source_.find(name);
    std::vector<float> out(tensor->n_bytes / sizeof(float));
    std::memcpy(out.data(), source_.bytes(*tensor).data(), tensor->n_bytes);
    return out;
  }

  std::string write() const {
    const std::string path = folder_ / "changed.gguf";
    gguf::Writer writer(path, metadata, tensors);
    for (const gguf::TensorInfo& tensor : writer.tensors()) {
      std::vector<std::byte> bytes(tensor.n_bytes);
      const auto found = values.find(tensor.name);
      const gguf::TensorInfo* old = source_.find(tensor.name);
      if (found != values.end())
        std::memcpy(bytes.data(), found->second.data(), bytes.size());
      else if (old != nullptr && old->n_bytes == bytes.size())
        std::ranges::copy(source_.bytes(*old), bytes.begin());
      writer.append(bytes);
    }
    writer.finish();
    return path;
  }

  std::string error() const { return error_of_opening(write()); }
};

// ssm_in: one key head after the other its query, its key, the values and the gates of its value heads.
TEST(DeltaNetModel, OldLayout) {
  const Golden golden("qwen3next");
  Changed model(golden.path());
  const size_t d = 16, n_head_k = 2, values = 2 * d, n_embd = 64;
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const std::vector<float> qkv = model.original(prefix + "attn_qkv.weight");
    const std::vector<float> gate = model.original(prefix + "attn_gate.weight");
    std::vector<float> joined;
    const auto rows = [&](const std::vector<float>& from, size_t begin, size_t n) {
      joined.insert(joined.end(), from.begin() + static_cast<int64_t>(begin * n_embd),
                    from.begin() + static_cast<int64_t>((begin + n) * n_embd));
    };
    for (size_t head = 0; head < n_head_k; ++head) {
      rows(qkv, head * d, d);
      rows(qkv, (n_head_k + head) * d, d);
      rows(qkv, 2 * n_head_k * d + head * values, values);
      rows(gate, head * values, values);
    }
    model.values[prefix + "ssm_in.weight"] = joined;
    std::erase_if(model.tensors, [&](const auto& tensor) { return tensor.name == prefix + "attn_gate.weight"; });
    auto& tensor = *std::ranges::find(model.tensors, prefix + "attn_qkv.weight", &gguf::TensorInfo::name);
    tensor.name = prefix + "ssm_in.weight";
    tensor.ne[1] = 2 * 2 * 16 + 2 * 4 * 16;
  }
  const gguf::Reader reader(model.write());
  const auto backend = compute::make_backend("cpu");
  const Model bound(reader, *backend);
  schedule::Session session(bound, 48);
  expect_golden(session.logits(session.forward(golden.ids)), golden, 0);
}

// An array of recurrent layers has the same meaning as the interval, and takes precedence over it.
TEST(DeltaNetModel, RecurrentLayersByName) {
  const Golden golden("qwen3next");
  Changed model(golden.path());
  model.metadata.set_integer("qwen3next.full_attention_interval", 1);
  std::string raw("\x07\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\0", 16);  // bool[4]
  model.metadata.set({"qwen3next.attention.recurrent_layers", gguf::ValueType::kArray, raw});
  const gguf::Reader reader(model.write());
  const auto backend = compute::make_backend("cpu");
  const Model bound(reader, *backend);
  schedule::Session session(bound, 48);
  expect_golden(session.logits(session.forward(golden.ids)), golden, 0);

  model.metadata.erase("qwen3next.attention.recurrent_layers");
  EXPECT_THAT(model.error(),
              HasSubstr("blk.0.attn_qkv.weight has shape [64, 128], expected [64, 192, 1]"));  // of full attention
  model.metadata.erase("qwen3next.full_attention_interval");
  EXPECT_EQ(model.error(), "");  // every fourth by default
}

// A recurrent layer has no tensor that proves the width of heads, and needs no table of that width.
TEST(DeltaNetModel, WithoutAttentionThereAreNoRopeTables) {
  const Golden golden("qwen3next");
  Changed model(golden.path());
  const std::string all("\x07\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\x01", 16);  // bool[4]
  model.metadata.set({"qwen3next.attention.recurrent_layers", gguf::ValueType::kArray, all});
  for (const char* key : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    model.metadata.set_integer("qwen3next." + std::string(key), 1 << 25);
  }
  const gguf::Reader reader(model.write());
  const auto backend = compute::make_backend("ref");
  const Model bound(reader, *backend);
  std::vector<Layer> layers;
  for (int i = 0; i < 3; ++i) {
    layers.push_back(bound.layer(i, 4096, layers));
    EXPECT_EQ(layers.back().rope.cos, nullptr);
  }
}

// Widths are products of two counts. Sums of them must stay within 64 bits before any tensor is looked at.
TEST(DeltaNetModel, WidthsBeyondCountingAreRefused) {
  for (const char* name : {"qwen3next", "llama", "deepseek2"}) {
    const gguf::Reader reader(Golden(name).path());
    for (const char* key : {"attention.head_count", "attention.head_count_kv"}) {
      gguf::Metadata metadata = reader.metadata();
      if (!metadata.contains(fmt::format("{}.{}", name, key))) continue;
      metadata.set_integer(fmt::format("{}.attention.head_count", name), 1 << 30);
      metadata.set_integer(fmt::format("{}.attention.head_count_kv", name), 1 << 30);
      metadata.set_integer(fmt::format("{}.attention.key_length", name), 1 << 30);
      metadata.set_integer(fmt::format("{}.attention.key_length_mla", name), 1 << 30);
      EXPECT_NE(test::error_of([&] { read_config(metadata); }), "") << name;
    }
  }
}

// Where no output.weight is, token_embd takes its place; a missing shared width is that of a dense FFN.
TEST(DeltaNetModel, DefaultsOfAbsentKeys) {
  Changed model(Golden("qwen3next").path());
  std::erase_if(model.tensors, [](const auto& tensor) { return tensor.name == "output.weight"; });
  EXPECT_EQ(model.error(), "");
  model.metadata.erase("qwen3next.expert_feed_forward_length");
  EXPECT_THAT(model.error(), HasSubstr("[64, 32, 4]"));  // 64 / 2 experts used
  model.metadata.set_integer("qwen3next.expert_feed_forward_length", 16);
  model.metadata.erase("qwen3next.expert_shared_feed_forward_length");
  EXPECT_THAT(model.error(), HasSubstr("ffn_gate_shexp.weight has shape [64, 16], expected [64, 64, 1]"));
}

TEST(DeltaNetModel, Refusals) {
  const std::pair<const char*, uint32_t> cases[] = {
      {"ssm.conv_kernel", 0},  {"ssm.state_size", 0},          {"ssm.state_size", 1u << 20},  {"ssm.group_count", 3},
      {"ssm.inner_size", 128}, {"full_attention_interval", 0}, {"attention.value_length", 8}, {"expert_count", 0},
      {"ssm.group_count", 0},  {"rope.dimension_count", 18},
  };
  for (const auto& [key, value] : cases) {
    Changed model(Golden("qwen3next").path());
    model.metadata.set_integer(std::string("qwen3next.") + key, value);
    EXPECT_THAT(model.error(), HasSubstr(key)) << value;
  }
  for (const char* name : {"blk.1.ssm_a", "blk.0.ssm_ba.weight", "blk.2.ssm_conv1d.weight", "blk.3.attn_q_norm.weight",
                           "blk.0.ffn_gate_inp_shexp.weight", "blk.0.post_attention_norm.weight"}) {
    Changed model(Golden("qwen3next").path());
    std::erase_if(model.tensors, [&](const auto& tensor) { return tensor.name == name; });
    EXPECT_THAT(model.error(), HasSubstr(std::string(name) + " is missing"));
  }
  Changed model(Golden("qwen35moe").path());
  model.metadata.erase("qwen35moe.rope.dimension_sections");
  EXPECT_THAT(model.error(), HasSubstr("rope.dimension_sections"));
}

// Every matrix of the file but the embedding is shown, each once a batch, with its inputs' width. Those with one column
// per token (a router's gate is one row) count as matrices; the convolution and vectors do not.
class Names : public compute::MatmulObserver {
 public:
  void dense(Backend&, const Weight& weight, int64_t, Matrix x) override {
    EXPECT_EQ(x.cols, weight.n_in);
    EXPECT_TRUE(names.insert(weight.name).second) << weight.name << " twice";
  }
  void experts(Backend&, const Weight& weight, Matrix x, const Routing&) override {
    EXPECT_EQ(x.cols, weight.n_in);
    EXPECT_TRUE(names.insert(weight.name).second) << weight.name << " twice";
  }
  std::set<std::string> names;
};

TEST(DeltaNetModel, ObserverSeesEveryMatrix) {
  for (const char* name : {"qwen3next", "qwen35moe"}) {
    const Golden golden(name);
    const gguf::Reader reader(golden.path());
    const auto backend = compute::make_backend("cpu");
    const Model model(reader, *backend);
    schedule::LayerSweep sweep(model, std::ssize(golden.ids), [&](int64_t) { return golden.ids; });
    sweep.start(0, 1);
    Names seen;
    compute::MatmulObserver* const observer = &seen;
    for (int i = 0; i < model.n_layers(); ++i) sweep.run_layers(i, std::span(&observer, 1));
    sweep.visit(
        [&](std::span<const int64_t>, Matrix x, ForwardContext& ctx) {
          ctx.scratch.reset();
          model.logits(x, ctx);
          return x;
        },
        &seen);

    std::set<std::string> expected;
    for (const gguf::TensorInfo& tensor : reader.tensors()) {
      const bool matrix = tensor.ne[1] > 1 || tensor.name.ends_with("ffn_gate_inp_shexp.weight");
      const bool product = !tensor.name.ends_with("ssm_conv1d.weight") && tensor.name != "token_embd.weight";
      if (matrix && product) expected.insert(tensor.name);
    }
    EXPECT_EQ(seen.names, expected) << name;
  }
}

}  // namespace
}  // namespace steelyard::model
