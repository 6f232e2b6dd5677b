// Well-formed files that hold no usable model.
#include <cmath>
#include <limits>

#include "cli/failure.h"
#include "model_copy.h"

namespace steelyard::test {
namespace {

class BadModel : public FailureTest {
 protected:
  // No subcommand computes with `copy`.
  void expect_useless(const ModelCopy& copy, const std::string& reason) {
    copy.save(model_);
    expect_fails({"run", "-m", model_, "-p", "hello", "-n", "2"}, reason);
    expect_fails({"perplexity", "-m", model_, "-f", text_, "-c", "64", "--chunks", "2", "--kl-divergence-base", out_},
                 reason);
    expect_fails({"imatrix", "-m", model_, "-f", text_, "-c", "64", "--chunks", "2", "-o", out_}, reason);
  }
  void expect_key_rejected(const std::string& key, uint32_t value) {
    ModelCopy copy(llama_);
    copy.metadata.set_integer(key, value);
    expect_useless(copy, model_);
  }

  const std::string model_ = folder_ / "model.gguf";
};

TEST_F(BadModel, UnknownArchitecture) {
  ModelCopy copy(llama_);
  copy.metadata.set_string("general.architecture", "abacus");
  expect_useless(copy, "architecture \"abacus\" is unknown");
  copy.metadata.set_string("general.architecture", "two\nlines\x1b[31m");
  expect_useless(copy, "two\\x0alines\\x1b[31m");
  copy.metadata.erase("general.architecture");
  expect_useless(copy, "general.architecture");
}

TEST_F(BadModel, MissingTensor) {
  for (const char* name : {"token_embd.weight", "output_norm.weight", "blk.1.attn_k.weight", "blk.2.ffn_down.weight"}) {
    ModelCopy copy(llama_);
    copy.remove(name);
    expect_useless(copy, std::string("tensor ") + name + " is missing");
  }
}

TEST_F(BadModel, WrongShape) {
  ModelCopy copy(llama_);
  auto& info = copy.find("blk.1.attn_k.weight")->info;
  std::swap(info.ne[0], info.ne[1]);
  expect_useless(copy, "tensor blk.1.attn_k.weight has shape [32, 64], expected [64, 32, 1]");
}

TEST_F(BadModel, WrongShapeOfExperts) {
  ModelCopy copy(deepseek_);
  auto& info = copy.find("blk.1.ffn_up_exps.weight")->info;
  std::swap(info.ne[1], info.ne[2]);
  expect_useless(copy, "tensor blk.1.ffn_up_exps.weight has shape");
}

// Numbers that no tensor confirms must not become allocations.
TEST_F(BadModel, WrongNumbers) {
  for (const uint32_t value : {0u, 63u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    expect_key_rejected("llama.embedding_length", value);
    expect_key_rejected("llama.attention.head_count", value);
    expect_key_rejected("llama.attention.key_length", value);
    expect_key_rejected("llama.attention.value_length", value);
    expect_key_rejected("llama.feed_forward_length", value);
  }
  for (const uint32_t value : {0u, 4u, 0xFFFFFFFFu}) expect_key_rejected("llama.block_count", value);
  for (const uint32_t value : {3u, 0x7FFFFFFFu}) expect_key_rejected("llama.attention.head_count_kv", value);
  for (const uint32_t value : {1u, 0x7FFFFFFEu}) expect_key_rejected("llama.rope.dimension_count", value);
  expect_key_rejected("llama.expert_count", 8);
}

TEST_F(BadModel, NumbersThatMultiplyBeyond64Bits) {
  ModelCopy copy(llama_);
  for (const char* key : {"head_count", "head_count_kv", "key_length", "value_length"}) {
    copy.metadata.set_integer(std::string("llama.attention.") + key, 0x7FFFFFFE);
  }
  copy.metadata.set_integer("llama.rope.dimension_count", 0x7FFFFFFE);
  expect_useless(copy, "expected");
}

TEST_F(BadModel, KeyOfAnotherKind) {
  ModelCopy copy(llama_);
  copy.metadata.set_string("llama.embedding_length", "64");
  expect_useless(copy, "llama.embedding_length");
  copy.metadata.erase("llama.embedding_length");
  expect_useless(copy, "llama.embedding_length");
}

TEST_F(BadModel, NoTokenizer) {
  ModelCopy copy(llama_);
  copy.metadata.set_string("tokenizer.ggml.model", "abacus");
  expect_useless(copy, "abacus");
}

// Infinities in, nonsense out: generation and evaluation say so, and an imatrix is not written.
TEST_F(BadModel, WeightsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    ModelCopy copy(llama_);
    for (size_t i = 0; i < 64; ++i) copy.set_value("blk.0.attn_norm.weight", i, bad);
    expect_useless(copy, "");
    expect_fails({"run", "-m", model_, "-p", "hello", "-n", "2"}, "are not finite: first in block 0 at position 0");
    const std::string ids = folder_ / "ids.json";
    std::ofstream(ids) << "[1, 2, 3]";
    const std::vector<std::vector<std::string>> evaluations = {{"-f", text_},
                                                               {"-f", text_, "--ppl-stride", "32"},
                                                               {"-f", text_, "--self-check"},
                                                               {"-f", golden("choice/winogrande.csv"), "--winogrande"},
                                                               {"--tokens", ids}};
    for (std::vector<std::string> command : evaluations) {
      command.insert(command.begin(), {"perplexity", "-m", model_, "-c", "64"});
      expect_fails(command, "not finite; the first number that is not comes from block 0 at position 0");
    }
  }
}

TEST_F(BadModel, QuantizeNamesThePlaceOfABadWeight) {
  ModelCopy copy(llama_);
  copy.set_value("blk.1.ffn_up.weight", 64 * 77 + 13, std::numeric_limits<float>::quiet_NaN());
  copy.save(model_);
  expect_fails({"quantize", model_, out_, "Q8_0"}, "tensor blk.1.ffn_up.weight holds nan in row 77, column 13");
  copy.set_value("blk.1.ffn_up.weight", 64 * 77 + 13, -std::numeric_limits<float>::infinity());
  copy.save(model_);
  expect_fails({"quantize", model_, out_, "Q5_0"}, "tensor blk.1.ffn_up.weight holds -inf in row 77, column 13");
}

}  // namespace
}  // namespace steelyard::test
