// A folder is the model that it was made of: golden GGUF models, taken apart as checkpoints have them by the inverse of
// what a folder does, come back byte for byte. And the published GLM-4.7-Flash, of which only headers are there.
#include "huggingface/folder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "error_of.h"
#include "gguf/fingerprint.h"
#include "gguf/reader.h"
#include "huggingface/golden_folder.h"

namespace steelyard::huggingface {
namespace {

using gguf::TensorInfo, test::checkpoint_of, test::kDeepseek, test::put_file, test::safetensors, test::TestTensor;
using test::Tensors;

class FolderTest : public testing::Test {
 protected:
  std::string path() const { return folder_ / "."; }
  void put(const std::string& name, const std::string& bytes) { put_file(folder_ / name, bytes); }
  void put(const Tensors& tensors) { put("model.safetensors", safetensors(tensors)); }
  // Half of the tensors in each shard.
  void put_shards(const Tensors& tensors) {
    Tensors parts[2];
    for (const auto& entry : tensors) parts[parts[0].size() > parts[1].size()].insert(entry);
    put("model-00001-of-00002.safetensors", safetensors(parts[0]));
    put("model-00002-of-00002.safetensors", safetensors(parts[1]));
  }
  std::string error() {
    return test::error_of([&] { Folder{path()}; });
  }

  static void expect_same(const gguf::Reader& model, const Folder& folder) {
    EXPECT_EQ(folder.tensors().size(), model.tensors().size());
    EXPECT_EQ(folder.total_bytes(), model.total_bytes());
    for (const TensorInfo& tensor : model.tensors()) {
      const TensorInfo* const ours = folder.find(tensor.name);
      ASSERT_NE(ours, nullptr) << tensor.name;
      EXPECT_EQ(ours->ne, tensor.ne) << tensor.name;
      EXPECT_EQ(ours->type, tensor.type) << tensor.name;
      const auto expected = model.bytes(tensor);
      EXPECT_TRUE(std::ranges::equal(folder.read(*ours).view, expected)) << tensor.name;
      const uint64_t begin = tensor.n_bytes / 3 + 1, end = tensor.n_bytes - 2;  // within rows
      folder.will_need(*ours, begin, end);
      EXPECT_TRUE(std::ranges::equal(folder.read(*ours, begin, end).view, expected.subspan(begin, end - begin)))
          << tensor.name;
      folder.release(*ours, 0, tensor.n_bytes);
    }
  }

  test::TempFolder folder_;
};

TEST_F(FolderTest, LatentAttentionAndExperts) {
  const gguf::Reader model(test::golden("models/deepseek2/model.gguf"));
  put("config.json", kDeepseek);
  put_shards(checkpoint_of(model, {}));
  const Folder folder(path());
  expect_same(model, folder);
  for (const gguf::KeyValue& entry : model.metadata().entries()) {
    if (!entry.key.starts_with("deepseek2.")) continue;
    const gguf::KeyValue* const ours = folder.metadata().find(entry.key);
    ASSERT_NE(ours, nullptr) << entry.key;
    EXPECT_EQ(ours->type, entry.type) << entry.key;
    EXPECT_EQ(ours->raw, entry.raw) << entry.key;
  }
  EXPECT_EQ(gguf::fingerprint(folder), gguf::fingerprint(Folder(path())));
}

// A header may have any length, and so the data any place in a file.
TEST_F(FolderTest, NumbersAreAlignedWhereverTheyStand) {
  const gguf::Reader model(test::golden("models/deepseek2/model.gguf"));
  put("config.json", kDeepseek);
  for (size_t odd = 0; odd < 4; ++odd) {
    std::string file = safetensors(checkpoint_of(model, {}));
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    const size_t n_spaces = (odd + 4 - length % 4) % 4;
    file.insert(sizeof length + length, n_spaces, ' ');
    length += n_spaces;
    std::memcpy(file.data(), &length, sizeof length);
    put("model.safetensors", file);
    const Folder folder(path());
    expect_same(model, folder);
    for (const TensorInfo& tensor : folder.tensors()) {
      const auto bytes = folder.read(tensor);
      const auto alignment = static_cast<uintptr_t>(format(tensor.type).block_bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % alignment, 0u) << odd << " " << tensor.name;
    }
  }
}

TEST_F(FolderTest, PairsOfRopeAreNeighbours) {
  const gguf::Reader model(test::golden("models/llama/model.gguf"));
  const auto n = [&](const std::string& key) { return model.metadata().integer("llama." + key); };
  put("config.json",
      fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "hidden_size": {}, "num_hidden_layers": {},
                      "num_attention_heads": {}, "num_key_value_heads": {}, "vocab_size": 272}})",
                  n("embedding_length"), n("block_count"), n("attention.head_count"), n("attention.head_count_kv")));
  put(checkpoint_of(model,
                    {{"attn_q.weight", n("attention.head_count")}, {"attn_k.weight", n("attention.head_count_kv")}}));
  expect_same(model, Folder(path()));
}

TEST_F(FolderTest, WhatDoesNotFitIsNamed) {
  const gguf::Reader model(test::golden("models/deepseek2/model.gguf"));
  const Tensors tensors = checkpoint_of(model, {});
  put(tensors);
  EXPECT_NE(error().find("config.json"), std::string::npos) << error();
  put("config.json", R"({"architectures": ["NewForCausalLM"]})");
  EXPECT_NE(error().find("architecture NewForCausalLM is not known; known are LlamaForCausalLM, "), std::string::npos)
      << error();
  put("config.json", kDeepseek);
  const auto with = [&](const auto& change) {
    Tensors changed = tensors;
    change(changed);
    put(changed);
    const std::string message = error();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(std::min(message.size(), message.find("tensor '")));
  };
  EXPECT_EQ(with([](Tensors& t) {
              t["model.layers.0.self_attn.extra.weight"] = {"F32", {1}, "abcd"};
            }),
            "tensor 'model.layers.0.self_attn.extra.weight': deepseek2 models have no such tensor here");
  EXPECT_EQ(with([](Tensors& t) { t.erase("model.layers.1.mlp.experts.3.up_proj.weight"); }),
            "tensor 'model.layers.1.mlp.experts.0.up_proj.weight': found 7 experts, expected all from 0 to 7");
  EXPECT_EQ(with([](Tensors& t) {
              t["model.layers.1.mlp.experts.3.up_proj.weight"].shape = {12, 128};
            }),
            "tensor 'model.layers.1.mlp.experts.3.up_proj.weight': found shape [12, 128], expected [24, 64] as its "
            "neighbours have");
  EXPECT_EQ(with([](Tensors& t) { t["model.layers.0.self_attn.kv_b_proj.weight"].shape = {4608}; }),
            "tensor 'model.layers.0.self_attn.kv_b_proj.weight': found [4608], of which dimension 1 does not divide as "
            "its architecture has it");
}

TEST_F(FolderTest, TowersAndBlocksForPredictionAreLeftOut) {
  const gguf::Reader model(test::golden("models/deepseek2/model.gguf"));
  Tensors tensors = checkpoint_of(model, {});
  tensors["vision_tower.patch_embed.weight"] = {"F32", {1}, "abcd"};
  put("config.json", kDeepseek);
  put(tensors);
  const Folder folder(path());
  EXPECT_EQ(folder.tensors().size(), model.tensors().size());
  ASSERT_EQ(folder.notes().size(), 1u);
  EXPECT_EQ(folder.notes()[0], "1 tensor of towers for images or sound is left out");
}

// The published shards have 844 tensors in GGUF's terms, as the model's published GGUF files have.
TEST_F(FolderTest, HeadersOfAPublishedModelAreEnough) {
  put("config.json", R"({"architectures": ["Glm4MoeLiteForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 47,
    "intermediate_size": 10240, "num_attention_heads": 20, "num_key_value_heads": 20, "rms_norm_eps": 1e-5,
    "rope_theta": 1000000, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256, "q_lora_rank": 768,
    "kv_lora_rank": 512, "first_k_dense_replace": 1, "n_routed_experts": 64, "num_experts_per_tok": 4,
    "n_shared_experts": 1, "moe_intermediate_size": 1536, "routed_scaling_factor": 1.8, "norm_topk_prob": true,
    "n_group": 1, "topk_group": 1, "vocab_size": 154880, "max_position_embeddings": 202752,
    "num_nextn_predict_layers": 1})");
  uint64_t end = 0;
  std::string header;
  const auto add = [&](const std::string& name, int64_t n_out, int64_t n_in, bool f32 = false) {
    const uint64_t bytes = static_cast<uint64_t>(n_out * n_in) * (f32 ? 4 : 2);
    const std::string shape = n_out == 1 ? fmt::format("{}", n_in) : fmt::format("{},{}", n_out, n_in);
    header += fmt::format("{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          header.empty() ? "{" : ",", name, f32 ? "F32" : "BF16", shape, end, end + bytes);
    end += bytes;
  };
  const auto network = [&](const std::string& at, int64_t width) {
    for (const char* part : {"gate_proj", "up_proj"}) add(at + part + ".weight", width, 2048);
    add(at + "down_proj.weight", 2048, width);
  };
  add("model.embed_tokens.weight", 154880, 2048);
  for (int i = 0; i < 47; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    add(at + "input_layernorm.weight", 1, 2048);
    add(at + "post_attention_layernorm.weight", 1, 2048);
    add(at + "self_attn.q_a_proj.weight", 768, 2048);
    add(at + "self_attn.q_a_layernorm.weight", 1, 768);
    add(at + "self_attn.q_b_proj.weight", 5120, 768);
    add(at + "self_attn.kv_a_proj_with_mqa.weight", 576, 2048);
    add(at + "self_attn.kv_a_layernorm.weight", 1, 512);
    add(at + "self_attn.kv_b_proj.weight", 20 * 448, 512);
    add(at + "self_attn.o_proj.weight", 2048, 5120);
    if (i == 0) {
      network(at + "mlp.", 10240);
      continue;
    }
    add(at + "mlp.gate.weight", 64, 2048);
    add(at + "mlp.gate.e_score_correction_bias", 1, 64, true);
    for (int expert = 0; expert < 64; ++expert) network(fmt::format("{}mlp.experts.{}.", at, expert), 1536);
    network(at + "mlp.shared_experts.", 1536);
  }
  add("model.norm.weight", 1, 2048);
  add("lm_head.weight", 154880, 2048);
  put("model.safetensors", safetensors(header + "}"));
  std::filesystem::resize_file(folder_ / "model.safetensors", 8 + header.size() + 1 + end);

  const Folder folder(path(), gguf::ReadMode::kHeader);
  EXPECT_EQ(folder.tensors().size(), 844u);
  EXPECT_EQ(folder.total_bytes(), 59'899'361'792u);
  const auto shape = [&](const std::string& name) { return gguf::shape_string(*folder.find(name)); };
  EXPECT_EQ(shape("blk.46.attn_k_b.weight"), "[192, 512, 20]");
  EXPECT_EQ(shape("blk.46.attn_v_b.weight"), "[512, 256, 20]");
  EXPECT_EQ(shape("blk.1.ffn_down_exps.weight"), "[1536, 2048, 64]");
  EXPECT_EQ(folder.find("blk.1.ffn_gate_inp.weight")->type, formats::Type::F32);
  EXPECT_EQ(folder.metadata().integer("deepseek2.block_count"), 47);
  EXPECT_FALSE(folder.metadata().contains("deepseek2.nextn_predict_layers"));
}

}  // namespace
}  // namespace steelyard::huggingface
