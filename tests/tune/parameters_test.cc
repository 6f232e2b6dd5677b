// What is tuned of a file, how far a step moves it, and that its codes stay.
#include "tune/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

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
  // One step of the optimizer, whose length is known before: Adam's first is as long as its rate.
  static void step(TinyTuning& tuning, double share, double lost) {
    const std::vector<int64_t> chunks = {0, 1};
    tuning.sweep.run(chunks, [&](int64_t, int64_t, compute::Matrix logits, compute::Backend& backend) {
      const std::vector<int32_t> tokens(static_cast<size_t>(logits.rows), 7);
      const std::vector<float> probs(tokens.size(), 0.9f);
      std::vector<float> losses(tokens.size());
      backend.divergence(logits, {1, tokens.data(), probs.data()}, losses.data());
    });
    tuning.parameters.step(share, lost, 1);
    tuning.parameters.keep();
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
  step(tuning, 1, 1);
  EXPECT_THAT(tuning.tuned(), Not(Contains(HasSubstr("exp_probs_b"))));
}

// What a step moves by, in the parts that Rates are in: of full rates, and shared.
TEST_F(ParametersTest, StepsAreAsLongAsTheRatesSay) {
  constexpr Rates kLong = {.vectors = 0.02, .routers = 0.03, .scales = 0.4};
  for (const auto& [share, lost] : {std::pair{1.0, 1.0}, {0.5, 1.0}, {1.0, 0.25}}) {
    TinyTuning& tuning = tuning_of("gpt-oss", matrices_in(Type::Q4_0), gpt_oss(), kLong);
    step(tuning, share, lost);
    // `of_size`: in parts of the root mean square, else of each value.
    const auto expect_moved = [&](const std::string& name, double rate, bool of_size, double rounding) {
      const gguf::TensorInfo& tensor = *tuning.reader.find(name);
      const formats::Format& format = formats::format(tensor.type);
      const auto was = scales(format, tuning.reader.bytes(tensor)),
                 is = scales(format, tuning.parameters.bytes(tensor));
      ASSERT_EQ(was.size(), is.size()) << name;
      const double size = root_mean_square(was);
      int n_moved = 0;
      for (size_t i = 0; i < was.size(); ++i) {
        const double moved = std::abs(double{is[i]} - was[i]) / (of_size ? size : std::abs(double{was[i]}));
        if (moved == 0) continue;  // its gradient is 0: an expert that no token has chosen
        EXPECT_NEAR(moved, rate, rounding) << name << " " << i << " share " << share << " lost " << lost;
        ++n_moved;
      }
      EXPECT_GT(n_moved, static_cast<int>(was.size() / 2)) << name;
    };
    expect_moved("blk.1.attn_norm.weight", 0.02 * share * lost, false, 1e-6);
    expect_moved("blk.1.attn_output.bias", 0.02 * share * lost, true, 1e-6);
    expect_moved("blk.1.attn_sinks.weight", 0.02 * share * lost, true, 1e-6);
    expect_moved("blk.1.ffn_gate_inp.weight", 0.03 * share * lost, true, 1e-6);
    // Q4_0 has 4.5 bits, two more than those of the full rate. A half has 11 bits.
    expect_moved("blk.1.attn_q.weight", 0.4 / 4 * share * std::sqrt(lost), false, 1e-3);
  }
}

// A step uses gradients up: without new ones, only momentum moves on.
TEST_F(ParametersTest, AStepTakesTheGradients) {
  TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama(), {.vectors = 0.02});
  step(tuning, 1, 1);
  const gguf::TensorInfo& norm = *tuning.reader.find("output_norm.weight");
  const std::vector<float> first = floats(tuning.parameters.bytes(norm));
  tuning.parameters.step(1, 1, 2);
  tuning.parameters.keep();
  const std::vector<float> second = floats(tuning.parameters.bytes(norm));
  // By the formula with a gradient of 0: m and v decay, and their corrections are those of the second step.
  const double length = 0.02 * (0.9 * 0.1 / (1 - 0.81)) / std::sqrt(0.95 * 0.05 / (1 - 0.9025));
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_NEAR(std::abs(second[i] - first[i]) / std::abs(first[i]), length, 1e-5) << i;
}

TEST_F(ParametersTest, NothingButScalesChanges) {
  for (const Type type : {Type::Q4_0, Type::Q4_1, Type::Q5_1, Type::Q8_0, Type::IQ4_NL}) {
    TinyTuning& tuning = tuning_of("llama", matrices_in(type), llama());
    step(tuning, 10, 1);
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
  tuning.parameters.step(1, 1, 1);
  EXPECT_FALSE(tuning.parameters.changed());
  for (const auto& [name, bytes] : tuning.bytes()) EXPECT_TRUE(bytes.empty()) << name;
  tuning.parameters.keep();
  EXPECT_TRUE(tuning.parameters.changed());
}

// What is kept is of the moment of keep(), whatever follows.
TEST_F(ParametersTest, KeptValuesDoNotMove) {
  TinyTuning& tuning = tuning_of("llama", matrices_in(Type::Q4_0), llama());
  step(tuning, 1, 1);
  const auto kept = tuning.bytes();
  tuning.parameters.step(1, 1, 2);
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
    step(*tuning, 1, 1);
  }
  EXPECT_EQ(loaded.bytes(), whole.bytes());
}

}  // namespace
}  // namespace steelyard::tune
