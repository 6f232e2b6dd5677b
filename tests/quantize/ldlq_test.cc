// Error feedback against its claim: the outputs lose less than with each weight rounded alone, whatever the type.
#include "quantize/ldlq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/parallel.h"

namespace steelyard::quantize {
namespace {

constexpr int64_t kColumns = 512;
constexpr int64_t kRows = 40;  // more than a tile of rows, and not a multiple of it

// Inputs of a few directions and some noise, so that columns are related.
std::vector<float> hessian(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  constexpr int64_t kTokens = 2048, kDirections = 24;
  std::vector<float> directions(kDirections * kColumns);
  for (float& value : directions) value = normal(random);
  std::vector<float> sums(kColumns * kColumns);
  for (int64_t t = 0; t < kTokens; ++t) {
    std::vector<float> x(kColumns);
    for (float& value : x) value = 0.5f * normal(random);
    for (int64_t d = 0; d < kDirections; ++d) {
      const float much = normal(random);
      for (int64_t c = 0; c < kColumns; ++c) x[c] += 0.3f * much * directions[d * kColumns + c];
    }
    for (int64_t a = 0; a < kColumns; ++a) {
      for (int64_t b = 0; b < kColumns; ++b) sums[a * kColumns + b] += x[a] * x[b] / kTokens;
    }
  }
  return sums;
}

std::vector<float> weights(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(kRows * kColumns);
  for (float& value : values) value = 0.02f * normal(random);
  return values;
}

std::vector<const formats::Format*> quantized_types() {
  std::vector<const formats::Format*> types;
  for (const formats::Format* type : formats::all_formats()) {
    if (type->encoder != nullptr && type->unpack != nullptr) types.push_back(type);
  }
  return types;
}

size_t size_of(const formats::Format& type) { return kRows * kColumns / type.block_len * type.block_bytes; }

double loss(const formats::Format& type, const std::vector<float>& h, const std::vector<float>& rows,
            const std::vector<std::byte>& bytes) {
  std::vector<float> decoded(rows.size());
  type.decode(bytes.data(), kRows * kColumns / type.block_len, decoded.data());
  return output_error(kColumns, h.data(), nullptr, rows.data(), decoded.data(), kRows);
}

std::vector<std::byte> mended(const formats::Format& type, const std::vector<float>& h, const std::vector<float>& rows,
                              const LdlqSettings& settings) {
  std::vector<std::byte> bytes(size_of(type));
  const auto encoder = LdlqEncoder::make(type, kColumns, h.data(), settings);
  EXPECT_TRUE(encoder.has_value());
  if (encoder) encoder->encode(rows.data(), kRows, bytes.data());
  return bytes;
}

// Each weight rounded by itself, with the mean squares of the inputs as importance.
std::vector<std::byte> alone(const formats::Format& type, const std::vector<float>& h, const std::vector<float>& rows) {
  std::vector<float> diagonal(kColumns);
  for (int64_t c = 0; c < kColumns; ++c) diagonal[c] = h[c * kColumns + c];
  std::vector<std::byte> bytes(size_of(type));
  const size_t row_bytes = kColumns / type.block_len * type.block_bytes;
  for (int64_t r = 0; r < kRows; ++r) {
    type.encoder->encode_row(rows.data() + r * kColumns, diagonal.data(), kColumns / type.block_len,
                             formats::Effort::kNormal, bytes.data() + r * row_bytes);
  }
  return bytes;
}

TEST(Ldlq, LosesLessAtTheOutputsThanRoundingEachWeightAlone) {
  const std::vector<float> h = hessian(1), rows = weights(2);
  for (const formats::Format* type : quantized_types()) {
    const double own = loss(*type, h, rows, mended(*type, h, rows, {}));
    EXPECT_LT(own, 0.75 * loss(*type, h, rows, alone(*type, h, rows))) << type->name;
  }
}

// One input with nearly all the energy, as in some layers of small models. The other columns still compensate each
// other. They cannot where H has only its diagonal, and a damping that is the same for all columns would prevent it.
TEST(Ldlq, ALoudColumnDoesNotDampTheOthers) {
  std::vector<float> h = hessian(1), loud = h, diagonal(h.size());
  for (int64_t c = 0; c < kColumns; ++c) loud[7 * kColumns + c] *= 10000.0f, loud[c * kColumns + 7] *= 10000.0f;
  for (int64_t c = 0; c < kColumns; ++c) h[7 * kColumns + c] = h[c * kColumns + 7] = 0.0f;
  for (int64_t c = 0; c < kColumns; ++c) diagonal[c * kColumns + c] = loud[c * kColumns + c];
  const std::vector<float> rows = weights(2);
  for (const formats::Type id : {formats::Type::Q4_K, formats::Type::IQ2_S, formats::Type::IQ3_S}) {
    const formats::Format& type = format(id);
    EXPECT_LT(loss(type, h, rows, mended(type, loud, rows, {})),
              0.8 * loss(type, h, rows, mended(type, diagonal, rows, {})))
        << type.name;
  }
}

// With a least weight, the shared scales are not fitted to that column alone either: they find the grid that the
// weights are near.
TEST(Ldlq, ALoudColumnIsNotAllThatScalesAreFittedTo) {
  std::vector<float> even(kColumns * kColumns), loud, rows = weights(5);
  for (int64_t c = 0; c < kColumns; ++c) even[c * kColumns + c] = 1.0f;
  loud = even;
  loud[7 * kColumns + 7] = 1e6f;
  for (float& weight : rows) weight = (1.0f + 0.1f * weight) * std::clamp(std::round(200.0f * weight), -8.0f, 7.0f);
  for (const formats::Type id : {formats::Type::Q4_1, formats::Type::Q5_1}) {
    const formats::Format& type = format(id);
    const auto loss_with = [&](float weight_floor) {
      return loss(type, even, rows, mended(type, loud, rows, {.weight_floor = weight_floor}));
    };
    EXPECT_LT(loss_with(formats::kWeightFloor), 0.5 * loss_with(0.0f)) << type.name;
  }
}

// A damping so small that it does not change H.
constexpr double kLittle = 1e-4;

TEST(Ldlq, DescentLowersTheLossItDescends) {
  const std::vector<float> h = hessian(3), rows = weights(4);
  for (const formats::Format* type : quantized_types()) {
    const auto loss_after = [&](int passes) {
      return loss(*type, h, rows,
                  mended(*type, h, rows, {.damping = kLittle, .passes = passes, .shrinkage_compensation = 0.0}));
    };
    const double none = loss_after(0), one = loss_after(1), three = loss_after(3);
    EXPECT_LE(one, none * 1.001) << type->name;
    EXPECT_LE(three, one * 1.001) << type->name;
    if (type->encoder->vector_dim > 1) {
      EXPECT_LT(three, 0.98 * none) << type->name;
    }
  }
}

// How much of the outputs is left: mean over rows of (Q x)(W x) / (W x)^2.
double kept(const formats::Format& type, const std::vector<float>& h, const std::vector<float>& rows,
            double shrinkage_compensation) {
  const std::vector<std::byte> bytes =
      mended(type, h, rows, {.damping = kLittle, .shrinkage_compensation = shrinkage_compensation});
  std::vector<float> decoded(rows.size());
  type.decode(bytes.data(), kRows * kColumns / type.block_len, decoded.data());
  double sum = 0.0;
  for (int64_t r = 0; r < kRows; ++r) {
    double left = 0.0, whole = 0.0;
    for (int64_t a = 0; a < kColumns; ++a) {
      double output = 0.0;
      for (int64_t b = 0; b < kColumns; ++b)
        output += static_cast<double>(rows[r * kColumns + b]) * h[b * kColumns + a];
      left += output * decoded[r * kColumns + a];
      whole += output * rows[r * kColumns + a];
    }
    sum += left / whole;
  }
  return sum / kRows;
}

TEST(Ldlq, OutputsKeepTheirSize) {
  const std::vector<float> h = hessian(5), rows = weights(6);
  for (const formats::Type id : {formats::Type::IQ1_S, formats::Type::IQ2_XXS, formats::Type::IQ2_S,
                                 formats::Type::Q2_K, formats::Type::IQ3_S}) {
    const formats::Format& type = format(id);
    const double without = kept(type, h, rows, 0.0);
    EXPECT_LT(without, 0.999) << type.name;
    EXPECT_NEAR(kept(type, h, rows, 1.0), 1.0, 0.15 * (1.0 - without)) << type.name;
    EXPECT_NEAR(kept(type, h, rows, 0.5), (1.0 + without) / 2, 0.15 * (1.0 - without)) << type.name;
  }
}

TEST(Ldlq, ARowDependsOnNothingElse) {
  const std::vector<float> h = hessian(5), rows = weights(6);
  const int before = set_thread_count(0);
  for (const formats::Type id : {formats::Type::IQ2_S, formats::Type::Q4_K, formats::Type::Q5_0}) {
    const formats::Format& type = format(id);
    const std::vector<std::byte> all = mended(type, h, rows, {});
    const size_t row_bytes = kColumns / type.block_len * type.block_bytes;
    const auto encoder = LdlqEncoder::make(type, kColumns, h.data(), {});
    for (const int threads : {1, 2, 7}) {
      set_thread_count(threads);
      EXPECT_TRUE(mended(type, h, rows, {}) == all) << type.name << ", " << threads << " threads";
      std::vector<std::byte> some(3 * row_bytes);
      encoder->encode(rows.data() + 30 * kColumns, 3, some.data());
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 30 * static_cast<std::ptrdiff_t>(row_bytes)))
          << type.name << ", " << threads << " threads";
    }
  }
  set_thread_count(before);
}

// Given the moments of the inputs. The last panel of 256 columns is a narrower one where blocks allow it.
TEST(Ldlq, EveryInstructionSetGivesTheSameBytes) {
  const std::vector<float> h = hessian(9), rows = weights(10);
  for (const formats::Format* chosen : quantized_types()) {
    const int64_t n = chosen->block_len < 256 ? kColumns - 128 : kColumns;
    std::vector<float> corner(static_cast<size_t>(n * n));
    for (int64_t r = 0; r < n; ++r) std::copy_n(&h[r * kColumns], n, &corner[r * n]);
    const auto bytes = [&](simd::Target target) {
      const formats::Format& type = format(chosen->type, target);
      const auto encoder = LdlqEncoder::make(type, n, corner.data(), {.passes = 1});
      EXPECT_TRUE(encoder.has_value());
      const int64_t n_rows = kRows * kColumns / n;
      std::vector<std::byte> out(static_cast<size_t>(n_rows * n / type.block_len * type.block_bytes));
      if (encoder) encoder->encode(rows.data(), n_rows, out.data());
      return out;
    };
    const std::vector<std::byte> expected = bytes(simd::Target::kScalar);
    for (const simd::Target target : simd::supported_targets())
      EXPECT_TRUE(bytes(target) == expected) << chosen->name << " " << simd::target_name(target);
  }
}

TEST(Ldlq, MomentsOfNoUseGiveNoEncoder) {
  std::vector<float> h(kColumns * kColumns);
  EXPECT_FALSE(LdlqEncoder::make(format(formats::Type::Q4_K), kColumns, h.data(), {}));
  h[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(LdlqEncoder::make(format(formats::Type::Q4_K), kColumns, h.data(), {}));
}

TEST(Ldlq, ColumnsWithoutInputDoNoHarm) {
  std::vector<float> h = hessian(7);
  const std::vector<float> rows = weights(8);
  for (int64_t c = 0; c < kColumns; ++c) {
    for (const int64_t silent : {0, 17, 300}) h[silent * kColumns + c] = h[c * kColumns + silent] = 0.0f;
  }
  for (const formats::Type id : {formats::Type::IQ3_S, formats::Type::Q6_K}) {
    std::vector<float> decoded(rows.size());
    const std::vector<std::byte> bytes = mended(format(id), h, rows, {});
    format(id).decode(bytes.data(), kRows * kColumns / 256, decoded.data());
    for (size_t i = 0; i < rows.size(); ++i) ASSERT_NEAR(decoded[i], rows[i], 0.08f) << i;
  }
}

}  // namespace
}  // namespace steelyard::quantize
