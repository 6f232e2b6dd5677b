// What is tuned of a file, how far a step moves it, and that its codes stay.
#include "tune/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tune/tiny_tuning.h"

namespace steelyard::tune {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The scales of a tensor's blocks, one after the other.
std::vector<float> scales(const formats::Format& format, std::span<const std::byte> bytes) {
  std::vector<float> all;
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(format.block_bytes)) {
    float of_block[formats::kMaxStoredScales];
    format.read_scales(bytes.data() + at, of_block);
    all.insert(all.end(), of_block, of_block + format.n_scales);
  }
  return all;
}

double root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

class ParametersTest : public testing::Test {
 protected:
  static const Teacher& llama() {
    static const Teacher teacher("llama");
    return teacher;
  }
  static const Teacher& gpt_oss() {
    static const Teacher teacher("gpt-oss");
    return teacher;
  }
  TinyTuning& tuning_of(const std::string& golden_model, const TypeOf& type_of, const Teacher& teacher,
                        const Rates& rates = kRates) {
    write_in_types(golden_model, type_of, folder_ / "q.gguf");
    return *(tunings_.emplace_back(std::make_unique<TinyTuning>(folder_ / "q.gguf", teacher, rates)));
  }
  // The divergence from rows that say "7", and its gradients.
  static double divergence_of(TinyTuning& tuning) {
    const std::vector<int64_t> chunks = {0, 1};
    double sum = 0;
    tuning.sweep.run(chunks, [&](int64_t, int64_t, compute::Matrix logits, compute::Backend& backend) {
      const std::vector<int32_t> tokens(static_cast<size_t>(logits.rows), 7);
      const std::vector<float> probs(tokens.size(), 0.9f);
      std::vector<float> losses(tokens.size());
      backend.divergence(logits, {1, tokens.data(), probs.data()}, losses.data());
      for (const float loss : losses) sum += loss;
    });
    return sum / static_cast<double>(n_positions(chunks.size()));
  }
  static int64_t n_positions(size_t n_chunks) { return static_cast<int64_t>(n_chunks) * llama().chunks().n_scored(); }
  // One step of the optimizer. Adam's first has its full length everywhere. Returns the divergence before it.
  static double step(TinyTuning& tuning, double share = 1) {
    const double divergence = divergence_of(tuning);
    tuning.parameters.set_lengths(divergence, n_positions(2));
    tuning.parameters.step(share, 1);
    tuning.parameters.keep();
    return divergence;
  }
  // How far the values of a tensor moved, in parts of each, or of their root mean square.
  static std::vector<double> moved(const TinyTuning& tuning, const std::string& name, bool of_size = false) {
    const gguf::TensorInfo& tensor = *tuning.reader.find(name);
    const formats::Format& format = formats::format(tensor.type);
    const auto was = scales(format, tuning.reader.bytes(tensor)), is = scales(format, tuning.parameters.bytes(tensor));
    const double size = root_mean_square(was);
    std::vector<double> all;
    for (size_t i = 0; i < was.size(); ++i) {
      const double by = std::abs(double{is[i]} - was[i]) / (of_size ? size : std::abs(double{was[i]}));
      if (by != 0) all.push_back(by);  // 0: no gradient, as that of an expert that no token has chosen
    }
    EXPECT_GT(all.size(), was.size() / 2) << name;
    return all;
  }

  const test::TempFolder folder_;
  std::vector<std::unique_ptr<TinyTuning>> tunings_;
};

TEST_F(ParametersTest, AreVectorsRoutersAndScales) {
  const std::set<std::string> names = tuning_of("gpt-oss", matrices_in(Type::Q4_0), gpt_oss()).tuned();
  for (const char* name : {"output_norm.weight", "output.weight", "blk.0.attn_norm.weight", "blk.1.attn_q.weight",
                           "blk.1.attn_q.bias", "blk.2.attn_sinks.weight", "blk.0.ffn_gate_inp.weight",
                           "blk.0.ffn_gate_inp.bias", "blk.2.ffn_gate_exps.weight"}) {
    EXPECT_THAT(names, Contains(name));
  }
  EXPECT_THAT(names, Not(Contains("token_embd.weight")));
  // Rows of 20 values are in no blocks of 32, so this matrix is still in F32.
  EXPECT_THAT(names, Not(Contains("blk.2.ffn_down_exps.weight")));
}

TEST_F(ParametersTest, ARateOfZeroLeavesAKindOut) {
  const TypeOf types = matrices_in(Type::Q4_0);
  const auto vectors = tuning_of("gpt-oss", types, gpt_oss(), {.vectors = 0.1}).tuned();
  EXPECT_THAT(vectors, Contains("blk.0.attn_sinks.weight"));
  EXPECT_THAT(vectors, Each(testing::AnyOf(EndsWith("norm.weight"), EndsWith(".bias"), EndsWith("sinks.weight"))));
  EXPECT_THAT(
      tuning_of("gpt-oss", types, gpt_oss(), {.routers = 0.1}).tuned(),
      UnorderedElementsAre("blk.0.ffn_gate_inp.weight", "blk.1.ffn_gate_inp.weight", "blk.2.ffn_gate_inp.weight"));
  TinyTuning& of_scales = tuning_of("gpt-oss", types, gpt_oss(), {.scales = 0.1});
  int64_t count = 0;
  for (const std::string& name : of_scales.tuned()) {
    const gguf::TensorInfo& tensor = *of_scales.reader.find(name);
    EXPECT_EQ(tensor.type, Type::Q4_0) << name;
    count += tensor.n_elements() / 32;
  }
  EXPECT_EQ(of_scales.parameters.count(), count);
  const TinyTuning& nothing = tuning_of("gpt-oss", types, gpt_oss(), {});
  EXPECT_EQ(nothing.parameters.count(), 0);
  EXPECT_EQ(nothing.parameters.n_tensors(), 0);
}

// Types without scales that can be set freely, vectors in other types, and the original itself.
TEST_F(ParametersTest, OtherTypesStay) {
  const auto types = [](const gguf::TensorInfo& tensor) {
    return tensor.name == "blk.0.attn_q.weight"      ? Type::F16
           : tensor.name == "blk.0.attn_k.weight"    ? Type::BF16
           : tensor.name == "blk.0.attn_v.weight"    ? Type::MXFP4
           : tensor.name == "blk.0.attn_norm.weight" ? Type::F16
           : tensor.name == "blk.1.attn_v.weight"    ? Type::F32
                                                     : matrices_in(Type::Q8_0)(tensor);
  };
  const auto names = tuning_of("llama", types, llama()).tuned();
  for (const char* stays : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight",
                            "blk.0.attn_norm.weight", "blk.1.attn_v.weight"}) {
    EXPECT_THAT(names, Not(Contains(stays)));
  }
  EXPECT_THAT(names, AllOf(Contains("blk.1.attn_q.weight"), Contains("blk.0.attn_output.weight")));
  EXPECT_THAT(tuning_of("llama", matrices_in(Type::F32), llama()).tuned(), Each(EndsWith("norm.weight")));
}

// As the output it would have gradients, as the embedding it has none: it stays.
TEST_F(ParametersTest, ATiedEmbeddingStays) {
  const Teacher tied("llama_tied");
  const auto names = tuning_of("llama_tied", matrices_in(Type::Q4_0), tied).tuned();
  EXPECT_THAT(names, Contains("blk.0.attn_q.weight"));
  EXPECT_THAT(names, Not(Contains(HasSubstr("token_embd"))));
}

// It only chooses experts, so it has no gradient.
TEST_F(ParametersTest, ASelectionBiasStays) {
  const Teacher deepseek("deepseek3");
  TinyTuning& tuning = tuning_of("deepseek3", matrices_in(Type::Q4_0), deepseek);
  step(tuning);
  EXPECT_THAT(tuning.tuned(), Not(Contains(HasSubstr("exp_probs_b"))));
}

// Adam's first step goes all to the same side, so it changes the divergence as Rates say. (Of a dense model: elsewhere
// some tokens choose other experts, and it jumps.)
TEST_F(ParametersTest, ARateIsWhatAStepChangesOfTheDivergence) {
  constexpr double kRate = 0.003;
  for (const auto kind : {&Rates::vectors, &Rates::scales}) {
    Rates rates;
    rates.*kind = kRate;
    TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama(), rates);
    const double before = step(tuning), after = divergence_of(tuning);
    const double wanted = kRate * before * (kind == &Rates::scales ? std::sqrt(before) : before);
    EXPECT_NEAR((before - after) / wanted, 1, 0.1);
  }
}

TEST_F(ParametersTest, StepsAreEquallyLongWithinAKind) {
  const auto types = [](const gguf::TensorInfo& tensor) {
    return matrices_in(tensor.name == "blk.1.attn_q.weight" ? Type::Q5_1 : Type::Q4_0)(tensor);
  };
  constexpr Rates kSmall = {.vectors = 0.0005, .routers = 0.0005, .scales = 0.02};
  TinyTuning& full = tuning_of("gpt-oss", types, gpt_oss(), kSmall);
  TinyTuning& half = tuning_of("gpt-oss", types, gpt_oss(), kSmall);
  step(full);
  step(half, 0.5);
  const auto expect_all = [](const std::vector<double>& moved, double length) {
    EXPECT_THAT(moved, Each(testing::DoubleNear(length, 0.02 * length)));
  };
  const double gains = moved(full, "blk.1.attn_norm.weight").front();
  for (const auto& [name, of_size] : {std::pair{"blk.1.attn_norm.weight", false},
                                      {"blk.1.attn_output.bias", true},
                                      {"blk.1.attn_sinks.weight", true}}) {
    expect_all(moved(full, name, of_size), gains);
    expect_all(moved(half, name, of_size), gains / 2);
  }
  const double router = moved(full, "blk.1.ffn_gate_inp.weight", true).front();
  expect_all(moved(full, "blk.2.ffn_gate_inp.weight", true), router);
  // Rounded to a half of 11 bits, so as a mean.
  const auto mean = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  };
  const double scales = mean(moved(full, "blk.1.attn_k.weight"));
  EXPECT_NEAR(mean(moved(full, "blk.0.attn_q.weight")) / scales, 1, 0.05);
  EXPECT_NEAR(mean(moved(full, "blk.1.attn_q.weight")) / scales, std::exp2(4.5 - 6), 0.05);
}

// A step uses gradients up: without new ones, only momentum moves on.
TEST_F(ParametersTest, AStepTakesTheGradients) {
  TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama(), {.vectors = 0.02});
  step(tuning);
  const gguf::TensorInfo& norm = *tuning.reader.find("output_norm.weight");
  const std::vector<float> first = floats(tuning.parameters.bytes(norm));
  const double length = moved(tuning, norm.name).front();
  tuning.parameters.step(1, 2);
  tuning.parameters.keep();
  const std::vector<float> second = floats(tuning.parameters.bytes(norm));
  // By the formula with a gradient of 0: m and v decay, and their corrections are those of the second step.
  const double part = (0.9 * 0.1 / (1 - 0.81)) / std::sqrt(0.95 * 0.05 / (1 - 0.9025));
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_NEAR(std::abs(second[i] - first[i]) / std::abs(first[i]), part * length, 1e-5) << i;
}

TEST_F(ParametersTest, NothingButScalesChanges) {
  for (const Type type : {Type::Q4_0, Type::Q4_1, Type::Q5_1, Type::Q8_0, Type::IQ4_NL}) {
    TinyTuning& tuning = tuning_of("llama", matrices_in(type), llama());
    step(tuning, 10);
    for (const gguf::TensorInfo& tensor : tuning.reader.tensors()) {
      const auto was = tuning.reader.bytes(tensor);
      std::vector<std::byte> is = tuning.parameters.bytes(tensor);
      if (is.empty()) continue;
      ASSERT_EQ(is.size(), was.size());
      EXPECT_FALSE(std::ranges::equal(is, was)) << tensor.name;
      if (tensor.type == Type::F32) continue;
      // With the scales that it had, it is what it was.
      const formats::Format& format = formats::format(type);
      float of_block[formats::kMaxStoredScales];
      for (size_t at = 0; at < is.size(); at += static_cast<size_t>(format.block_bytes)) {
        format.read_scales(was.data() + at, of_block);
        format.write_scales(of_block, is.data() + at);
      }
      EXPECT_TRUE(std::ranges::equal(is, was)) << tensor.name << " " << format.name;
    }
  }
}

TEST_F(ParametersTest, WithoutKeepThereIsNoChange) {
  TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama());
  EXPECT_FALSE(tuning.parameters.changed());
  const std::vector<int64_t> chunks = {0};
  tuning.sweep.run(chunks, [](int64_t, int64_t, compute::Matrix, compute::Backend&) {});
  tuning.parameters.step(1, 1);
  EXPECT_FALSE(tuning.parameters.changed());
  for (const auto& [name, bytes] : tuning.bytes()) EXPECT_TRUE(bytes.empty()) << name;
  tuning.parameters.keep();
  EXPECT_TRUE(tuning.parameters.changed());
}

// What is kept is of the moment of keep(), whatever follows.
TEST_F(ParametersTest, KeptValuesDoNotMove) {
  TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama());
  step(tuning);
  const auto kept = tuning.bytes();
  tuning.parameters.step(1, 2);
  EXPECT_EQ(tuning.bytes(), kept);
}

TEST_F(ParametersTest, SavedAndLoadedTheyGoOnBitForBit) {
  TinyTuning& whole = tuning_of("gpt-oss", matrices_in(Type::Q4_1), gpt_oss());
  TinyTuning& loaded = tuning_of("gpt-oss", matrices_in(Type::Q4_1), gpt_oss());
  for (const bool kept : {false, true}) {
    whole.tuner.advance();
    whole.tuner.advance();
    if (kept) whole.parameters.keep();
    std::vector<float> state;
    whole.parameters.save(
        [&](std::span<const float> values) { state.insert(state.end(), values.begin(), values.end()); });
    size_t at = 0;
    loaded.parameters.load([&](std::span<float> values) {
      ASSERT_LE(at + values.size(), state.size());
      std::copy_n(state.begin() + static_cast<std::ptrdiff_t>(at), values.size(), values.begin());
      at += values.size();
    });
    EXPECT_EQ(at, state.size());
    EXPECT_EQ(loaded.parameters.changed(), kept);
    EXPECT_EQ(loaded.bytes(), whole.bytes());
  }
  // The same gradients, at the values that the model computes with, and the same step.
  for (TinyTuning* tuning : {&whole, &loaded}) {
    step(*tuning);
  }
  EXPECT_EQ(loaded.bytes(), whole.bytes());
}

}  // namespace
}  // namespace steelyard::tune
