// The Hessian estimated from weights: which matrices describe an input, their correlations under the importance, and
// that rows rounded with it lose less where inputs are as the weights say.
#include "quantize/hessian_estimate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "base/parallel.h"
#include "gguf/reader.h"
#include "model_copy.h"
#include "quantize/ldlq.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

const std::string kModel = test::golden("imatrix/deepseek2_k256/model.gguf");
const std::string kImatrix = test::golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");

class HessianEstimate : public testing::Test {
 protected:
  const gguf::TensorInfo& tensor(const std::string& name) const { return *reader_.find(name); }
  std::vector<double> values(const std::string& name, int64_t slice) const {
    const gguf::TensorInfo& info = tensor(name);
    const auto* first = reinterpret_cast<const float*>(reader_.bytes(info).data()) + slice * info.ne[0] * info.ne[1];
    return {first, first + info.ne[0] * info.ne[1]};
  }

  const gguf::Reader reader_{kModel};
  const imatrix::Imatrix imatrix_ = imatrix::Imatrix::load(kImatrix);
  const plan::Resolution resolution_ = resolve(plan::Plan::parse("* = Q8_0", "test.plan"), reader_.tensors());
  const HessianEstimates estimates_{reader_, resolution_, imatrix_};
};

std::set<std::string> names(const std::vector<const gguf::TensorInfo*>& tensors) {
  std::set<std::string> result;
  for (const gguf::TensorInfo* tensor : tensors) result.insert(tensor->name);
  return result;
}

TEST_F(HessianEstimate, ReadersOfOneInputTellOfIt) {
  const auto* const experts = estimates_.find(tensor("blk.1.ffn_up_exps.weight"));
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(names(experts->consumers),
            (std::set<std::string>{"blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight"}));
  EXPECT_EQ(estimates_.find(tensor("blk.1.ffn_gate_exps.weight")), experts);
  const auto* const attention = estimates_.find(tensor("blk.0.attn_q_a.weight"));
  ASSERT_NE(attention, nullptr);
  EXPECT_TRUE(names(attention->consumers).contains("blk.0.attn_kv_a_mqa.weight"));
  EXPECT_FALSE(names(attention->consumers).contains("blk.1.attn_q_a.weight"));
}

TEST_F(HessianEstimate, GateAndUpTellOfDown) {
  const auto* const down = estimates_.find(tensor("blk.1.ffn_down_exps.weight"));
  ASSERT_NE(down, nullptr);
  EXPECT_TRUE(down->consumers.empty());
  EXPECT_EQ(names(down->producers), (std::set<std::string>{"blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight"}));
}

TEST_F(HessianEstimate, WhatIsReadByOneAloneIsNotKnown) {
  EXPECT_EQ(estimates_.find(tensor("blk.1.attn_output.weight")), nullptr);
  EXPECT_EQ(estimates_.find(tensor("token_embd.weight")), nullptr);
  EXPECT_EQ(estimates_.find(tensor("blk.1.attn_norm.weight")), nullptr);
}

TEST_F(HessianEstimate, AFusedGateAndUpDoesNotTellOfDown) {
  const test::TempFolder folder;
  test::ModelCopy copy(kModel);
  copy.remove("blk.0.ffn_gate.weight");
  copy.save(folder / "fused.gguf");
  const gguf::Reader reader(folder / "fused.gguf");
  const plan::Resolution resolution = resolve(plan::Plan::parse("* = Q8_0", "test.plan"), reader.tensors());
  EXPECT_EQ(HessianEstimates(reader, resolution, imatrix_).find(*reader.find("blk.0.ffn_down.weight")), nullptr);
}

// Both ways against sums written out.
TEST_F(HessianEstimate, MomentsAreCorrelationsUnderTheImportance) {
  constexpr int64_t kSlice = 1;
  for (const bool by_producers : {false, true}) {
    const gguf::TensorInfo& of = tensor(by_producers ? "blk.1.ffn_down_exps.weight" : "blk.1.ffn_up_exps.weight");
    const int64_t n = of.ne[0];
    std::vector<float> importance(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) importance[static_cast<size_t>(i)] = static_cast<float>(i % 7);  // zeros, too
    const std::vector<double> gate = values("blk.1.ffn_gate_exps.weight", kSlice),
                              up = values("blk.1.ffn_up_exps.weight", kSlice);
    const auto length = static_cast<int64_t>(gate.size()) / n;
    const auto products = [&](const std::vector<double>& matrix, int64_t i, int64_t k) {
      double sum = 0.0;
      for (int64_t j = 0; j < length; ++j) {
        sum += by_producers ? matrix[i * length + j] * matrix[k * length + j] : matrix[j * n + i] * matrix[j * n + k];
      }
      return sum;
    };
    const auto both = [&](int64_t i, int64_t k) { return products(gate, i, k) + products(up, i, k); };
    const std::vector<float> hessian = estimates_.find(of)->hessian(kSlice, importance);
    ASSERT_EQ(hessian.size(), static_cast<size_t>(n * n));
    const std::pair<int64_t, int64_t> places[] = {{1, 1}, {1, 2}, {2, 1}, {0, 5}, {n / 2, n - 3}, {n - 1, n / 2}};
    for (const auto& [i, k] : places) {
      const double correlation = by_producers
                                     ? products(gate, i, k) / std::sqrt(products(gate, i, i) * products(gate, k, k)) *
                                           products(up, i, k) / std::sqrt(products(up, i, i) * products(up, k, k))
                                     : both(i, k) / std::sqrt(both(i, i) * both(k, k));
      const double root = std::sqrt(static_cast<double>(importance[i]) * importance[k]);
      EXPECT_NEAR(hessian[i * n + k], correlation * root, 1e-5) << by_producers << " " << i << " " << k;
    }
  }
}

TEST_F(HessianEstimate, ThreadsDoNotMatter) {
  const gguf::TensorInfo& up = tensor("blk.1.ffn_up_exps.weight");
  const std::vector<float> importance(static_cast<size_t>(up.ne[0]), 1.0f);
  const int before = set_thread_count(1);
  const std::vector<float> one = estimates_.find(up)->hessian(0, importance);
  set_thread_count(3);
  EXPECT_EQ(estimates_.find(up)->hessian(0, importance), one);
  set_thread_count(before);
}

// Inputs x of a few directions; rows of two readers that have learnt from them, as gradients do: sums of inputs.
TEST(InputEstimateGain, RowsThatLearntFromTheirInputsLoseLess) {
  constexpr int64_t kColumns = 256, kRows = 192, kDirections = 24, kInputs = 1024;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> directions(kDirections * kColumns), inputs(kInputs * kColumns);
  for (float& value : directions) value = normal(random);
  for (int64_t t = 0; t < kInputs; ++t) {
    for (int64_t c = 0; c < kColumns; ++c) inputs[t * kColumns + c] = normal(random);
    for (int64_t d = 0; d < kDirections; ++d) {
      const float much = normal(random);
      for (int64_t c = 0; c < kColumns; ++c) inputs[t * kColumns + c] += 0.5f * much * directions[d * kColumns + c];
    }
  }
  std::vector<float> h(kColumns * kColumns), importance(kColumns);
  for (int64_t t = 0; t < kInputs; ++t) {
    const float* const x = inputs.data() + t * kColumns;
    for (int64_t a = 0; a < kColumns; ++a) {
      for (int64_t b = 0; b < kColumns; ++b) h[a * kColumns + b] += x[a] * x[b] / kInputs;
    }
  }
  for (int64_t c = 0; c < kColumns; ++c) importance[c] = h[c * kColumns + c];

  test::ModelCopy copy(kModel);
  const gguf::TensorInfo like = copy.find("blk.0.ffn_gate.weight")->info;
  std::vector<test::ModelCopy::Tensor> consumers;
  std::vector<float> rows;
  for (const char* name : {"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"}) {
    rows.assign(kRows * kColumns, 0.0f);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int step = 0; step < 64; ++step) {
        const float* const x = inputs.data() + random() % kInputs * kColumns;
        const float much = normal(random);
        for (int64_t c = 0; c < kColumns; ++c) rows[r * kColumns + c] += 0.01f * much * x[c];
      }
    }
    test::ModelCopy::Tensor reader = *copy.find(name);
    reader.info.ne = {kColumns, kRows, 1, 1};
    reader.info.n_bytes = rows.size() * sizeof(float);
    const auto bytes = std::as_bytes(std::span(rows));
    reader.bytes.assign(bytes.begin(), bytes.end());
    consumers.push_back(reader);
  }
  copy.tensors = consumers;
  const test::TempFolder folder;
  copy.save(folder / "readers.gguf");
  const gguf::Reader reader(folder / "readers.gguf");
  const quantize::HessianEstimate estimate{
      .source = reader, .consumers = {reader.find("blk.0.ffn_gate.weight"), reader.find("blk.0.ffn_up.weight")}};

  const formats::Format& type = format(formats::Type::Q2_K);
  const size_t row_bytes = kColumns / type.block_len * type.block_bytes;
  std::vector<std::byte> alone(kRows * row_bytes), mended(kRows * row_bytes);
  for (int64_t r = 0; r < kRows; ++r) {
    type.encoder->encode_row(rows.data() + r * kColumns, importance.data(), kColumns / type.block_len,
                             formats::Effort::kBest, alone.data() + r * row_bytes);
  }
  LdlqEncoder::make(type, kColumns, estimate.hessian(0, importance).data(),
                    {.damping = estimate.damping(), .effort = formats::Effort::kBest})
      ->encode(rows.data(), kRows, mended.data());
  const auto loss = [&](const std::vector<std::byte>& bytes) {
    std::vector<float> decoded(rows.size());
    type.decode(bytes.data(), kRows * kColumns / type.block_len, decoded.data());
    return output_error(kColumns, h.data(), nullptr, rows.data(), decoded.data(), kRows);
  };
  EXPECT_LT(loss(mended), 0.8 * loss(alone)) << loss(mended) << " for " << loss(alone);
}

}  // namespace
}  // namespace steelyard::quantize
