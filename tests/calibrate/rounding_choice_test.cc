// Which way of rounding wins, with moments made for it, and what is reported.
#include "calibrate/rounding_choice.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "plan/plan.h"
#include "support.h"

namespace steelyard::calibrate {
namespace {

constexpr int64_t kIn = 256, kOut = 8, kInputs = 512;

// F32 tensors of one shape in a file, and a plan for them.
class RoundingChoice : public testing::Test {
 protected:
  void write(int64_t n_slices, float odd_one = 0.0f) {
    n_slices_ = n_slices;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    values_.resize(static_cast<size_t>(n_slices * kOut * kIn));
    for (float& value : values_) value = 0.02f * normal(random);
    if (odd_one != 0.0f) values_[kOut * kIn + 3 * kIn + 5] = odd_one;
    gguf::TensorInfo tensor;
    tensor.name = "blk.0.ffn_up.weight";
    tensor.type = formats::Type::F32;
    tensor.n_dims = n_slices > 1 ? 3 : 2;
    tensor.ne = {kIn, kOut, n_slices, 1};
    gguf::Writer writer(folder_ / "model.gguf", gguf::Metadata("test", {}), {tensor});
    writer.append(std::as_bytes(std::span(values_)));
    writer.finish();
    source_.emplace(folder_ / "model.gguf");
    resolution_ = resolve(plan::Plan::parse("* = Q4_K\n", "test"), source_->tensors());
  }

  // Of inputs along a few directions with some noise; another seed, other directions.
  HessianSums hessian(uint32_t seed, const std::vector<int64_t>& counts) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    constexpr int64_t kDirections = 8;
    std::vector<float> directions(kDirections * kIn);
    for (float& value : directions) value = normal(random);
    std::vector<float> all(static_cast<size_t>(n_slices_ * kIn * kIn));
    for (int64_t s = 0; s < n_slices_; ++s) {
      float* const sums = all.data() + s * kIn * kIn;
      for (int64_t i = 0; i < counts[static_cast<size_t>(s)]; ++i) {
        std::vector<float> x(kIn);
        for (float& value : x) value = 0.1f * normal(random);
        for (int64_t d = 0; d < kDirections; ++d) {
          const float much = normal(random);
          for (int64_t c = 0; c < kIn; ++c) x[static_cast<size_t>(c)] += much * directions[d * kIn + c];
        }
        for (int64_t a = 0; a < kIn; ++a) {
          for (int64_t b = 0; b < kIn; ++b) sums[a * kIn + b] += x[static_cast<size_t>(a)] * x[static_cast<size_t>(b)];
        }
      }
    }
    return {kIn, counts, std::move(all), {}};
  }

  RoundedTensor round(const HessianSums& watched, const HessianSums* held_out) const {
    return round_tensor(*source_, resolution_.decisions.at(0), watched, held_out, {});
  }

  // Every weight by itself, weighted with `importance` [kIn] or null.
  std::vector<std::byte> alone(const float* importance) const {
    const formats::Format& to = format(formats::Type::Q4_K);
    std::vector<std::byte> bytes(static_cast<size_t>(n_slices_ * kOut * kIn / to.block_len) * to.block_bytes);
    const size_t row_bytes = bytes.size() / static_cast<size_t>(n_slices_ * kOut);
    for (int64_t r = 0; r < n_slices_ * kOut; ++r) {
      to.encoder->encode_row(values_.data() + r * kIn, importance, kIn / to.block_len, formats::Effort::kNormal,
                             bytes.data() + static_cast<size_t>(r) * row_bytes);
    }
    return bytes;
  }

  const test::TempFolder folder_;
  int64_t n_slices_ = 1;
  std::vector<float> values_;
  std::optional<gguf::Reader> source_;
  plan::Resolution resolution_;
};

TEST_F(RoundingChoice, FeedbackWinsWhereColumnsAreRelated) {
  write(1);
  const HessianSums watched = hessian(1, {kInputs});
  const RoundedTensor rounded = round(watched, &watched);
  const auto& [name, loss, chosen] = rounded.report;
  EXPECT_EQ(name, "blk.0.ffn_up.weight");
  EXPECT_EQ(rounded.bytes.size(), resolution_.decisions[0].bytes);
  EXPECT_EQ(chosen, (std::array<int64_t, kRoundings>{1, 0, 0}));
  EXPECT_LT(loss[static_cast<size_t>(Rounding::kLdlq)], 0.5 * loss[static_cast<size_t>(Rounding::kDiagonal)]);
  EXPECT_GT(loss[static_cast<size_t>(Rounding::kLdlq)], 0.0);
}

// Held-out inputs that go where no weight has an influence but that of one column: what feedback knows is no use to
// them.
TEST_F(RoundingChoice, HeldOutInputsDecide) {
  write(1);
  const HessianSums watched = hessian(1, {kInputs});
  std::vector<float> identity(kIn * kIn);
  for (int64_t c = 0; c < kIn; ++c) identity[static_cast<size_t>(c * kIn + c)] = 1.0f;
  const HessianSums held_out(kIn, {1}, identity, {});
  const RoundedTensor rounded = round(watched, &held_out);
  EXPECT_EQ(rounded.report.chosen, (std::array<int64_t, kRoundings>{0, 0, 1}));
  EXPECT_EQ(rounded.bytes, alone(nullptr));
}

TEST_F(RoundingChoice, MoreOfTheSameTextLosesLess) {
  write(3);
  const auto compare = [&](const HessianSums& part, const HessianSums& all, const HessianSums& held_out) {
    TimedLoop timed(nullptr);
    return compare_texts(*source_, resolution_.decisions.at(0), part, all, held_out, {}, nullptr, timed);
  };
  // The slice with the median number of inputs decides.
  const HessianSums all = hessian(1, {10, kInputs, 2 * kInputs}), part = hessian(1, {kInputs, 32, kInputs});
  const TextLoss same = compare(all, all, all), less = compare(part, all, all);
  EXPECT_GT(same.all, 0.0);
  EXPECT_EQ(same.part, same.all);
  EXPECT_EQ(less.all, same.all);
  EXPECT_GT(less.part, 1.05 * less.all);
  const HessianSums unseen(kIn, {10, 0, 2 * kInputs}, {all.sums().begin(), all.sums().end()}, {});
  EXPECT_EQ(compare(part, all, unseen).all, 0.0);
}

TEST_F(RoundingChoice, WithoutInputsEveryWeightIsPlain) {
  write(1);
  const HessianSums none(kIn, {0}, std::vector<float>(kIn * kIn), {});
  const RoundedTensor rounded = round(none, nullptr);
  EXPECT_EQ(rounded.report.chosen, (std::array<int64_t, kRoundings>{0, 0, 1}));
  EXPECT_EQ(rounded.bytes, alone(nullptr));
}

// The second expert was not chosen by any held-out token: the watched inputs judge it, as if none were held out.
TEST_F(RoundingChoice, SlicesAreJudgedByThemselves) {
  write(2);
  const HessianSums watched = hessian(1, {kInputs, kInputs / 2}), held_out = hessian(2, {32, 0});
  const RoundedTensor judged = round(watched, &held_out), all = round(watched, nullptr);
  const auto n_chosen = std::accumulate(judged.report.chosen.begin(), judged.report.chosen.end(), int64_t{0});
  EXPECT_EQ(n_chosen, 2);
  const size_t half = judged.bytes.size() / 2;
  EXPECT_TRUE(std::equal(judged.bytes.begin() + static_cast<std::ptrdiff_t>(half), judged.bytes.end(),
                         all.bytes.begin() + static_cast<std::ptrdiff_t>(half)));
}

TEST_F(RoundingChoice, AWeightThatIsNotFiniteIsNamed) {
  write(2, std::numeric_limits<float>::infinity());
  const HessianSums watched = hessian(1, {4, 4});
  try {
    round(watched, nullptr);
    FAIL() << "an infinite weight was rounded";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blk.0.ffn_up.weight holds inf in row 11, column 5"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace steelyard::calibrate
