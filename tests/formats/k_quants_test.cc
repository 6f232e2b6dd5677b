// The encoders of Q2_K to Q6_K: against plain rounding, the levels of effort against each other, and the same bytes
// from every instruction set.
#include <algorithm>
#include <cmath>
#include <random>

#include "base/half.h"
#include "formats/format.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_k.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "support.h"

namespace steelyard::formats {
namespace {

constexpr int kLen = 256;
constexpr Type kTypes[] = {Type::Q2_K, Type::Q3_K, Type::Q4_K, Type::Q5_K, Type::Q6_K};
constexpr Effort kEfforts[] = {Effort::kFast, Effort::kNormal, Effort::kBest};

struct Sample {
  std::vector<float> x;
  std::vector<float> importance;
  int64_t blocks() const { return static_cast<int64_t>(x.size()) / kLen; }
};

/// Blocks of ordinary values with outliers (one in `rare` is ten times as large), and importance over three decades.
Sample sample(int n_blocks, int rare) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  Sample sample;
  for (int i = 0; i < n_blocks * kLen; ++i) {
    const float size = random() % static_cast<uint32_t>(rare) == 0 ? 0.3f : 0.03f;
    sample.x.push_back(size * normal(random));
    sample.importance.push_back(std::exp(1.5f * normal(random)));
  }
  return sample;
}

double error_of(const float* x, const float* y, const float* w, size_t n) {
  double error = 0.0;
  for (size_t i = 0; i < n; ++i) error += double{w[i]} * (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  return error;
}

std::vector<std::byte> encode(const Format& format, const Sample& sample, Effort effort) {
  std::vector<std::byte> bytes(static_cast<size_t>(sample.blocks() * format.block_bytes));
  format.encoder->encode_row(sample.x.data(), sample.importance.data(), sample.blocks(), effort, bytes.data());
  return bytes;
}

/// Error under the objective that the encoder minimises.
double objective_error(const Format& format, const Sample& sample, Effort effort) {
  const auto bytes = encode(format, sample, effort);
  std::vector<float> y(sample.x.size());
  format.decode(bytes.data(), sample.blocks(), y.data());
  double error = 0.0;
  for (size_t at = 0; at < y.size(); at += kLen) {
    float w[kLen];
    format.encoder->objective(&sample.x[at], &sample.importance[at], w);
    error += error_of(&sample.x[at], &y[at], w, kLen);
  }
  return error;
}

TEST(KQuants, MoreEffortMeansLessError) {
  for (const int rare : {1 << 30, 50}) {
    const Sample blocks = sample(64, rare);
    for (const Type type : kTypes) {
      const Format& f = format(type);
      const double fast = objective_error(f, blocks, Effort::kFast);
      const double normal = objective_error(f, blocks, Effort::kNormal);
      const double best = objective_error(f, blocks, Effort::kBest);
      EXPECT_LT(normal, fast) << f.name << " with one outlier in " << rare;
      EXPECT_LT(best, normal) << f.name << " with one outlier in " << rare;
    }
  }
}

/// The scales of a plain encoding: every sub-block from its least to its largest value, or up to its largest magnitude.
template <class F>
typename F::Scales plain_scales(const float* x) {
  constexpr int kSubLen = kLen / F::kSubBlocks;
  float scales[F::kSubBlocks];
  float mins[F::kSubBlocks] = {};
  for (int b = 0; b < F::kSubBlocks; ++b) {
    const auto [low, high] = std::minmax_element(x + b * kSubLen, x + (b + 1) * kSubLen);
    if constexpr (requires { F::kLowCode; }) {
      scales[b] = std::max(-*low, *high) / F::kHighCode;
    } else {
      mins[b] = std::max(0.0f, -*low);
      scales[b] = (*high + mins[b]) / F::kHighCode;
    }
  }
  typename F::Scales plain = {};
  plain.d = to_half(*std::max_element(scales, scales + F::kSubBlocks) / F::kHighSubScale);
  for (int b = 0; b < F::kSubBlocks; ++b) {
    plain.scale[b] =
        static_cast<uint8_t>(std::lround(std::min<float>(F::kHighSubScale, scales[b] / to_float(plain.d))));
  }
  if constexpr (!requires { F::kLowCode; }) {
    plain.d_min = to_half(*std::max_element(mins, mins + F::kSubBlocks) / F::kHighSubScale);
    for (int b = 0; b < F::kSubBlocks; ++b) {
      plain.minimum[b] =
          static_cast<uint8_t>(std::lround(std::min<float>(F::kHighSubScale, mins[b] / to_float(plain.d_min))));
    }
  }
  return plain;
}

template <class F>
class KQuantsOfType : public testing::Test {
 protected:
  static double rounded_error(const float* x, const float* w, const typename F::Scales& scales, uint32_t* codes) {
    float values[kLen];
    for (int i = 0; i < kLen; ++i) codes[i] = F::round(x + i, w + i, scales, i, values + i);
    return error_of(x, values, w, kLen);
  }
};
using KTypes = testing::Types<Q2_K, Q3_K, Q4_K, Q5_K, Q6_K>;
TYPED_TEST_SUITE(KQuantsOfType, KTypes);

TYPED_TEST(KQuantsOfType, FitBeatsPlainRounding) {
  const Sample blocks = sample(32, 100);
  for (size_t at = 0; at < blocks.x.size(); at += kLen) {
    const float* const x = &blocks.x[at];
    float w[kLen];
    uint32_t codes[kLen];
    objective<TypeParam>(x, &blocks.importance[at], w);
    const double plain = this->rounded_error(x, w, plain_scales<TypeParam>(x), codes);
    for (const Effort effort : kEfforts) {
      const auto fitted = TypeParam::fit(x, w, effort, codes);
      EXPECT_LT(this->rounded_error(x, w, fitted, codes), plain);
    }
  }
}

TYPED_TEST(KQuantsOfType, FitLeavesTheCodesOfRound) {
  Sample blocks = sample(32, 100);
  blocks.x[5] = -3e38f;         // hostile
  blocks.x[kLen + 7] = 1e-42f;  // and blocks of few values
  std::fill_n(&blocks.x[2 * kLen], kLen, 0.25f);
  for (int i = 0; i < kLen; ++i) blocks.x[static_cast<size_t>(3 * kLen + i)] = static_cast<float>(i % 3);
  for (size_t at = 0; at < blocks.x.size(); at += kLen) {
    for (const Effort effort : kEfforts) {
      float w[kLen];
      uint32_t fitted[kLen];
      uint32_t rounded[kLen];
      objective<TypeParam>(&blocks.x[at], &blocks.importance[at], w);
      const auto scales = TypeParam::fit(&blocks.x[at], w, effort, fitted);
      this->rounded_error(&blocks.x[at], w, scales, rounded);
      EXPECT_TRUE(std::equal(fitted, fitted + kLen, rounded)) << "block " << at / kLen;
    }
  }
}

TEST(KQuants, ASubBlockOfFewDistinctCodesLeavesTheOthersTheirScales) {
  // One value far below its neighbours: many pairs of scale and minimum fit its sub-block as well as any, and only the
  // small ones leave the other sub-blocks steps to choose from.
  for (const Type type : {Type::Q2_K, Type::Q4_K, Type::Q5_K}) {
    Sample blocks = sample(64, 1 << 30);
    for (size_t at = 0; at < blocks.x.size(); at += kLen) blocks.x[at + 180] = -0.4f;
    const Format& f = format(type);
    const double best = objective_error(f, blocks, Effort::kBest);
    EXPECT_LT(best, objective_error(f, blocks, Effort::kNormal)) << f.name;
    EXPECT_LT(objective_error(f, blocks, Effort::kNormal), 1.2 * best) << f.name;
    EXPECT_LT(objective_error(f, blocks, Effort::kFast), 1.4 * best) << f.name;
  }
}

TEST(KQuants, OffsetsCostNoPrecision) {
  // Values within a hundredth of -1: the error is that of the small spread, as far as halves can hold the offset.
  std::mt19937 random(3);
  Sample blocks = {std::vector<float>(32 * kLen), std::vector<float>(32 * kLen, 1.0f)};
  for (float& x : blocks.x) x = -1.0f + 1e-2f * static_cast<float>(random() % 1000) / 1000.0f;
  for (const Type type : {Type::Q2_K, Type::Q4_K, Type::Q5_K}) {
    const auto bytes = encode(format(type), blocks, Effort::kNormal);
    std::vector<float> y(blocks.x.size());
    format(type).decode(bytes.data(), blocks.blocks(), y.data());
    double worst = 0.0;
    for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(double{y[i]} - blocks.x[i]));
    EXPECT_LT(worst, 6e-3) << format(type).name;
  }
}

TEST(KQuants, EveryInstructionSetGivesTheSameBytes) {
  for (const int rare : {1 << 30, 20}) {
    Sample blocks = sample(32, rare);
    std::fill_n(&blocks.x[0], kLen, 0.25f);
    std::fill_n(&blocks.x[kLen], kLen, 0.0f);
    for (int i = 0; i < kLen; ++i) {
      blocks.x[static_cast<size_t>(2 * kLen + i)] = static_cast<float>(i % 2);
      blocks.x[static_cast<size_t>(3 * kLen + i)] = std::ldexp(1.0f, i % 250 - 125);
      blocks.importance[static_cast<size_t>(4 * kLen + i)] = i % 50 == 0 ? 1.0f : 0.0f;
    }
    for (const Type type : kTypes) {
      for (const Effort effort : kEfforts) {
        const auto expected = encode(format(type, simd::Target::kScalar), blocks, effort);
        for (const simd::Target target : simd::supported_targets()) {
          ASSERT_EQ(format(type, target).target, simd::target_name(simd::encoder_target(target)));
          EXPECT_EQ(encode(format(type, target), blocks, effort), expected)
              << format(type).name << ' ' << simd::target_name(target);
        }
      }
    }
  }
}

TEST(KQuants, PackedScalesUnpack) {
  AffineScales scales = {};
  for (int value = 0; value <= KScales::kHigh; ++value) {
    for (int s = 0; s < 8; ++s) {
      scales.scale[s] = static_cast<uint8_t>((value + 9 * s) % 64);
      scales.minimum[s] = static_cast<uint8_t>((value + 23 * s + 5) % 64);
    }
    const KScales packed = KScales::pack(scales);
    for (int s = 0; s < 8; ++s) {
      EXPECT_EQ(packed.scale(s), scales.scale[s]);
      EXPECT_EQ(packed.minimum(s), scales.minimum[s]);
    }
  }
}

}  // namespace
}  // namespace steelyard::formats
