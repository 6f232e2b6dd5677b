// Every encoder against the promises of formats/encoder.h, on ordinary and on hostile blocks, and the errors it leaves
// against the committed ones.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <sstream>

#include "formats/format.h"
#include "support.h"

namespace steelyard::formats {
namespace {

constexpr int kOrdinaryRows = 8;  // of the golden source; rows 8 to 11 are degenerate

std::vector<float> source() { return test::read_values<float>(test::golden("formats/source.f32")); }
std::vector<float> source_weights() { return test::read_values<float>(test::golden("formats/source_weights.f32")); }

std::vector<const Format*> encodable(bool quantized) {
  std::vector<const Format*> formats;
  for (const Format* format : all_formats()) {
    if (format->encoder != nullptr && format->is_quantized() == quantized) formats.push_back(format);
  }
  return formats;
}

std::vector<std::byte> encode(const Format& format, const std::vector<float>& x, const float* importance,
                              Effort effort = Effort::kNormal) {
  const auto n_blocks = static_cast<int64_t>(x.size()) / format.block_len;
  std::vector<std::byte> bytes(static_cast<size_t>(n_blocks * format.block_bytes), std::byte{0xAA});
  format.encoder->encode_row(x.data(), importance, n_blocks, effort, bytes.data());
  return bytes;
}

std::vector<float> decode(const Format& format, const std::vector<std::byte>& bytes) {
  const auto n_blocks = static_cast<int64_t>(bytes.size()) / format.block_bytes;
  std::vector<float> values(static_cast<size_t>(n_blocks * format.block_len));
  format.decode(bytes.data(), n_blocks, values.data());
  return values;
}

std::vector<float> coded(const Format& format, const std::vector<float>& x, const float* importance) {
  return decode(format, encode(format, x, importance));
}

double squared_error(const float* x, const float* y, const float* w, size_t n) {
  double error = 0.0;
  for (size_t i = 0; i < n; ++i) error += (w ? double{w[i]} : 1.0) * (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  return error;
}

double relative_error(const std::vector<float>& x, const std::vector<float>& y, const float* w) {
  const std::vector<float> zeros(x.size(), 0.0f);
  return squared_error(x.data(), y.data(), w, x.size()) / squared_error(x.data(), zeros.data(), w, x.size());
}

/// One block taken through the steps by hand.
struct Steps {
  const Format& format;
  const float* x;
  const float* w;
  alignas(16) std::byte scales[kMaxScalesBytes] = {};
  uint32_t codes[kMaxBlockLen] = {};
  float values[kMaxBlockLen] = {};

  void fit() { format.encoder->fit(x, w, Effort::kNormal, scales, codes); }
  void round() {
    const int vector_dim = format.encoder->vector_dim;
    for (int i = 0; i < format.block_len; i += vector_dim) {
      codes[i / vector_dim] = format.encoder->round(x + i, w + i, scales, i, values + i);
    }
  }
  std::vector<float> packed() const {
    std::vector<std::byte> block(static_cast<size_t>(format.block_bytes));
    format.encoder->pack(scales, codes, block.data());
    return decode(format, block);
  }
  double error(const float* y) const { return squared_error(x, y, w, static_cast<size_t>(format.block_len)); }
};

/// Calls body(steps) for every block of the golden source, times `factor`, with its objective.
template <class Body>
void for_each_block(const Body& body, float factor = 1.0f) {
  auto x = source();
  for (float& value : x) value *= factor;
  const auto importance = source_weights();
  for (const Format* format : encodable(true)) {
    SCOPED_TRACE(format->name);
    for (size_t at = 0; at < x.size(); at += static_cast<size_t>(format->block_len)) {
      std::vector<float> w(static_cast<size_t>(format->block_len));
      format->encoder->objective(&x[at], &importance[at], w.data());
      Steps steps = {*format, &x[at], w.data()};
      body(steps);
    }
  }
}

TEST(Encode, TheTypesThatCanBeWritten) {
  std::vector<std::string_view> names;
  for (const bool quantized : {false, true}) {
    for (const Format* format : encodable(quantized)) names.push_back(format->name);
  }
  const std::vector<std::string_view> expected = {"F32",    "F16",     "BF16",  "Q4_0",   "Q4_1",  "Q5_0",  "Q5_1",
                                                  "Q8_0",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "IQ2_XXS",
                                                  "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
                                                  "IQ1_M",  "TQ1_0",   "TQ2_0", "MXFP4",  "NVFP4", "Q1_0",  "Q2_0"};
  EXPECT_EQ(names, expected);
}

TEST(Encode, PackedBlocksDecodeToTheRoundedValues) {
  for_each_block([](Steps& steps) {
    const auto expect_exact = [&] {
      const auto decoded = steps.packed();
      for (int i = 0; i < steps.format.block_len; ++i) ASSERT_EQ(decoded[static_cast<size_t>(i)], steps.values[i]) << i;
    };
    steps.fit();
    steps.round();
    expect_exact();
    steps.format.encoder->refit(steps.x, steps.w, steps.codes, steps.scales);
    steps.round();
    expect_exact();
  });
}

TEST(Encode, RefitNeverWorsens) {
  for_each_block([](Steps& steps) {
    steps.fit();
    steps.round();
    const double fitted = steps.error(steps.values);
    steps.format.encoder->refit(steps.x, steps.w, steps.codes, steps.scales);
    EXPECT_LE(steps.error(steps.packed().data()), fitted * (1.0 + 1e-5));
  });
}

TEST(Encode, RefitRecoversASpoiltScale) {
  // Fitting twice the block and then refitting to the block itself must come down to the block's own size, as far as
  // its own fit does. Large values, since the scales of NVFP4 end at 2^-9.
  const auto body = [](Steps& steps) {
    steps.fit();
    steps.round();
    const double own = steps.error(steps.values);
    std::vector<float> twice(steps.x, steps.x + steps.format.block_len);
    for (float& value : twice) value *= 2.0f;
    steps.format.encoder->fit(twice.data(), steps.w, Effort::kNormal, steps.scales, steps.codes);
    Steps doubled = steps;
    doubled.x = twice.data();
    doubled.round();
    const double spoilt = steps.error(doubled.values);
    doubled.format.encoder->refit(steps.x, steps.w, doubled.codes, doubled.scales);
    const double refitted = steps.error(doubled.packed().data());
    EXPECT_LE(refitted, std::max(0.5 * spoilt, 1.25 * own));
  };
  for_each_block(body, 256.0f);
}

TEST(Encode, RescaleSuitsASubBlockThatHasChanged) {
  // Every sub-block in turn is halved after the block was fitted.
  double spoilt = 0.0, rescaled = 0.0;
  for_each_block([&](Steps& steps) {
    const Encoder& encoder = *steps.format.encoder;
    if (encoder.rescale == nullptr) {
      EXPECT_EQ(encoder.sub_block, steps.format.block_len);
      return;
    }
    steps.fit();
    std::vector<float> half(steps.x, steps.x + steps.format.block_len);
    for (float& value : half) value *= 0.5f;
    Steps changed = steps;
    changed.x = half.data();
    changed.round();
    const double before = changed.error(changed.values);
    for (int at = 0; at < steps.format.block_len; at += encoder.sub_block) {
      encoder.rescale(half.data() + at, steps.w + at, at, Effort::kNormal, changed.scales);
    }
    changed.round();
    EXPECT_LE(changed.error(changed.values), 1.01 * before);
    spoilt += before;
    rescaled += changed.error(changed.values);
  });
  EXPECT_LT(rescaled, 0.5 * spoilt);
}

TEST(Encode, RoundTakesTheBestCode) {
  // No other code in place of the chosen one is nearer. All codes of up to 12 bits are tried; of longer ones, all that
  // share the lowest or the highest bits with the chosen code.
  static constexpr int kBits = 12;
  for_each_block([](Steps& steps) {
    const auto vector_dim = static_cast<size_t>(steps.format.encoder->vector_dim);
    const auto n = static_cast<size_t>(steps.format.block_len) / vector_dim;
    const auto errors = [&](const float* y) {
      std::vector<double> result(n);
      for (size_t i = 0; i < n; ++i) {
        result[i] = squared_error(steps.x + i * vector_dim, y + i * vector_dim, steps.w + i * vector_dim, vector_dim);
      }
      return result;
    };
    steps.fit();
    steps.round();
    const auto chosen = errors(steps.values);
    const auto all = errors(std::vector<float>(n * vector_dim).data());
    // Not every number of as many bits is a code, but what lies below one in use is.
    const uint32_t highest = *std::max_element(steps.codes, steps.codes + n);
    const int bits = static_cast<int>(std::bit_width(highest));
    Steps other = steps;
    for (const int shift : {0, std::max(0, bits - kBits)}) {
      for (uint32_t change = 1; change < 1u << std::min(bits, kBits); ++change) {
        for (size_t i = 0; i < n; ++i) {
          const uint32_t code = steps.codes[i] ^ change << shift;
          other.codes[i] = code <= highest ? code : steps.codes[i];
        }
        const auto changed = errors(other.packed().data());
        for (size_t i = 0; i < n; ++i)
          ASSERT_GE(changed[i], chosen[i] - 1e-5 * all[i]) << i << " code " << other.codes[i];
      }
    }
  });
}

TEST(Encode, ErrorIsWithinReachOfTheRate) {
  // An ideal coder of Gaussian values leaves 4^-bits; block formats stay within a constant factor of it.
  auto x = source();
  x.resize(kOrdinaryRows * 256);
  for (const Format* format : encodable(true)) {
    const double bits = 8.0 * format->block_bytes / format->block_len;
    EXPECT_LT(relative_error(x, coded(*format, x, nullptr), nullptr), 8.0 * std::pow(4.0, -bits)) << format->name;
  }
}

TEST(Encode, ImportanceLowersTheWeightedError) {
  auto x = source();
  x.resize(kOrdinaryRows * 256);
  const auto w = source_weights();
  for (const Format* format : encodable(true)) {
    const double with = relative_error(x, coded(*format, x, w.data()), w.data());
    const double without = relative_error(x, coded(*format, x, nullptr), w.data());
    if (format->importance == Importance::kIgnored) {
      EXPECT_EQ(with, without) << format->name;
    } else {
      EXPECT_LT(with, without) << format->name;
    }
  }
}

TEST(Encode, MoreEffortLeavesLessError) {
  // In sum over many blocks; a single one may be worse for more candidates, since least squares moves them all. Only
  // the fit promises this: what counters its shrinkage afterwards is no search.
  std::mt19937 random(7);
  std::student_t_distribution<float> value(5.0f);
  std::lognormal_distribution<float> column(0.0f, 0.7f);
  std::vector<float> x(64 * 256), importance(x.size());
  std::ranges::generate(x, [&] { return value(random); });
  std::ranges::generate(importance, [&] { return column(random); });
  for (const Format* format : encodable(true)) {
    const auto n = static_cast<size_t>(format->block_len);
    std::vector<float> w(x.size());
    for (size_t at = 0; at < x.size(); at += n) format->encoder->objective(&x[at], &importance[at], &w[at]);
    const auto error = [&](Effort effort) {
      double sum = 0.0;
      for (size_t at = 0; at < x.size(); at += n) {
        Steps steps = {*format, &x[at], &w[at]};
        format->encoder->fit(&x[at], &w[at], effort, steps.scales, steps.codes);
        sum += steps.error(steps.packed().data());
      }
      return sum;
    };
    EXPECT_LE(error(Effort::kNormal), error(Effort::kFast)) << format->name;
    EXPECT_LE(error(Effort::kBest), error(Effort::kNormal)) << format->name;
  }
}

TEST(Encode, ABlockOfZerosBecomesZeroBytes) {
  const std::vector<float> x(512, 0.0f);
  const std::vector<float> w(512, 1.0f);
  for (const Format* format : encodable(true)) {
    for (const float* importance : {static_cast<const float*>(nullptr), w.data()}) {
      const auto bytes = encode(*format, x, importance);
      EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; })) << format->name;
      EXPECT_EQ(decode(*format, bytes), x) << format->name;
    }
  }
}

TEST(Encode, RowsTogetherAndBlocksAloneGiveTheSameBytes) {
  const auto x = source();
  const auto w = source_weights();
  for (const bool quantized : {false, true}) {
    for (const Format* format : encodable(quantized)) {
      const auto together = encode(*format, x, w.data());
      std::vector<std::byte> alone(together.size());
      for (int64_t b = static_cast<int64_t>(x.size()) / format->block_len - 1; b >= 0; --b) {
        format->encoder->encode_row(&x[static_cast<size_t>(b * format->block_len)],
                                    &w[static_cast<size_t>(b * format->block_len)], 1, Effort::kNormal,
                                    &alone[static_cast<size_t>(b * format->block_bytes)]);
      }
      EXPECT_EQ(together, alone) << format->name;
    }
  }
}

struct Hostile {
  const char* name;
  std::vector<float> x;
};

std::vector<Hostile> hostile_blocks() {
  std::vector<Hostile> blocks;
  const auto add = [&](const char* name, auto value) {
    std::vector<float> x(256);
    for (int i = 0; i < 256; ++i) x[static_cast<size_t>(i)] = value(i);
    blocks.push_back({name, x});
  };
  add("zeros", [](int) { return 0.0f; });
  add("constant", [](int) { return 0.37f; });
  add("negative constant", [](int) { return -2.5f; });
  add("one outlier", [](int i) { return i == 100 ? 1e4f : 0.01f * std::sin(static_cast<float>(i)); });
  add("lone spike", [](int i) { return i == 17 ? -3.0f : 0.0f; });
  add("subnormal", [](int i) { return 1e-41f * static_cast<float>(i - 100); });
  add("smallest", [](int) { return 1.4e-45f; });
  add("tiny half", [](int i) { return 1e-7f * static_cast<float>(i % 7 - 3); });
  add("huge", [](int i) { return i % 2 ? 1e38f : -1e38f; });
  add("largest", [](int i) { return i % 3 ? 3.4028234e38f : -3.4028234e38f; });
  add("every magnitude", [](int i) { return (i % 2 ? 1.0f : -1.0f) * std::ldexp(1.0f, i - 128); });
  add("above the largest half", [](int i) { return 60000.0f * static_cast<float>(i % 5); });
  return blocks;
}

std::vector<Hostile> hostile_importance() {
  std::vector<Hostile> weights = {{"unknown", {}}};
  const auto add = [&](const char* name, auto value) {
    std::vector<float> w(256);
    for (int i = 0; i < 256; ++i) w[static_cast<size_t>(i)] = value(i);
    weights.push_back({name, w});
  };
  add("ones", [](int) { return 1.0f; });
  add("zeros", [](int) { return 0.0f; });
  add("mostly zeros", [](int i) { return i % 50 == 0 ? 1.0f : 0.0f; });
  add("extreme range", [](int i) { return std::ldexp(1.0f, i - 128); });
  add("largest", [](int) { return 3.4028234e38f; });
  add("smallest", [](int) { return 1.4e-45f; });
  return weights;
}

TEST(Encode, EveryInstructionSetGivesTheSameBytes) {
  struct Case {
    std::string name;
    std::vector<float> x, importance;
  };
  std::vector<Case> cases = {{"source", source(), source_weights()}, {"source alone", source(), {}}};
  for (const Hostile& block : hostile_blocks()) {
    for (const Hostile& importance : hostile_importance()) {
      cases.push_back({fmt::format("{} with importance {}", block.name, importance.name), block.x, importance.x});
    }
  }
  for (const Format* chosen : all_formats()) {
    if (chosen->encoder == nullptr) continue;
    for (const simd::Target target : simd::supported_targets()) {
      const Format& reference = format(chosen->type, simd::Target::kScalar);
      const Format& other = format(chosen->type, target);
      EXPECT_EQ(other.target, simd::target_name(simd::encoder_target(target)));
      for (const Case& c : cases) {
        const float* importance = c.importance.empty() ? nullptr : c.importance.data();
        for (const Effort effort : {Effort::kFast, Effort::kNormal, Effort::kBest}) {
          EXPECT_EQ(encode(other, c.x, importance, effort), encode(reference, c.x, importance, effort))
              << other.name << ", " << other.target << ": " << c.name << ", effort " << static_cast<int>(effort);
        }
      }
    }
  }
}

TEST(Encode, FiniteInputGivesFiniteOutput) {
  for (const bool quantized : {false, true}) {
    for (const Format* format : encodable(quantized)) {
      for (const Hostile& block : hostile_blocks()) {
        for (const Hostile& importance : hostile_importance()) {
          SCOPED_TRACE(fmt::format("{}: {} with importance {}", format->name, block.name, importance.name));
          const auto y = coded(*format, block.x, importance.x.empty() ? nullptr : importance.x.data());
          EXPECT_TRUE(std::ranges::all_of(y, [](float value) { return std::isfinite(value); }));
        }
      }
    }
  }
}

TEST(Encode, FitBearsAnyWeights) {
  // Error feedback brings weights of its own.
  for (const Format* format : encodable(true)) {
    for (const Hostile& block : hostile_blocks()) {
      for (const Hostile& weights : hostile_importance()) {
        if (weights.x.empty()) continue;
        SCOPED_TRACE(fmt::format("{}: {} with weights {}", format->name, block.name, weights.name));
        Steps steps = {*format, block.x.data(), weights.x.data()};
        steps.fit();
        steps.round();
        format->encoder->refit(steps.x, steps.w, steps.codes, steps.scales);
        const auto y = steps.packed();
        EXPECT_TRUE(std::ranges::all_of(y, [](float value) { return std::isfinite(value); }));
      }
    }
  }
}

TEST(Encode, HostileBlocksKeepTheirShape) {
  const auto blocks = hostile_blocks();
  for (const Format* format : encodable(true)) {
    std::map<std::string, double> bounds = {
        {"zeros", 0.0}, {"constant", 2e-2}, {"negative constant", 2e-2}, {"one outlier", 1e-2}, {"lone spike", 1e-2}};
    // Beside a spike the smallest magnitudes are an error that no scale avoids.
    if (format->encoder->vector_dim > 1) {
      const double bound = format->name.starts_with("IQ3") ? 0.3 : format->type == Type::IQ2_XXS ? 0.97 : 0.7;
      bounds["one outlier"] = bounds["lone spike"] = bound;
    }
    // Signs alone: whatever the spike gains, all others lose. The objective weighs the spike more than least squares
    // does.
    if (format->type == Type::Q1_0) bounds["one outlier"] = bounds["lone spike"] = 1.5;
    // A power of two times 1, 1.5, 2, 3, 4 or 6: off by up to a fifth.
    if (format->type == Type::MXFP4) bounds["constant"] = bounds["negative constant"] = bounds["one outlier"] = 0.04;
    // The largest value of the type is 448 * 6.
    if (format->type == Type::NVFP4) bounds["one outlier"] = 0.55;
    for (const Hostile& block : blocks) {
      const auto bound = bounds.find(block.name);
      if (bound == bounds.end()) continue;
      for (const char* known : {"unknown", "ones", "zeros"}) {
        const std::vector<float> w(256, known[0] == 'o' ? 1.0f : 0.0f);
        const auto y = coded(*format, block.x, known[0] == 'u' ? nullptr : w.data());
        const double norm = squared_error(block.x.data(), std::vector<float>(256).data(), nullptr, 256);
        EXPECT_LE(squared_error(block.x.data(), y.data(), nullptr, 256), bound->second * norm)
            << format->name << ": " << block.name << " with importance " << known;
      }
    }
  }
}

TEST(Encode, ScaleOfTheBlockDoesNotMatter) {
  // Powers of two commute with every step as long as halves, and the scales of NVFP4, stay normal.
  auto x = source();
  for (float& value : x) value *= 32.0f;
  for (const Format* format : encodable(true)) {
    auto larger = x;
    for (float& value : larger) value *= 16.0f;
    auto expected = coded(*format, x, nullptr);
    for (float& value : expected) value *= 16.0f;
    const double error = relative_error(expected, coded(*format, larger, nullptr), nullptr);
    EXPECT_LT(error, 1e-5) << format->name;
  }
}

TEST(Encode, PlainTypesRoundToNearestAndStayFinite) {
  const auto one = [](const char* name, float x) {
    return coded(*find_format(std::string_view(name)), {x}, nullptr)[0];
  };
  EXPECT_EQ(one("F32", 0.1f), 0.1f);
  EXPECT_EQ(one("F16", 1.0f + 0x1p-11f), 1.0f);
  EXPECT_EQ(one("F16", 1.0f + 0x1.8p-10f), 1.0f + 0x1p-9f);
  EXPECT_EQ(one("F16", 1e6f), 65504.0f);
  EXPECT_EQ(one("F16", -1e38f), -65504.0f);
  EXPECT_EQ(one("BF16", 1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(one("BF16", 1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f);
  EXPECT_EQ(one("BF16", -3.4028234e38f), -0x1.FEp127f);
}

/// Lines "type,importance,weighted,unweighted": relative errors on the golden source.
std::map<std::string, std::pair<double, double>> measured_errors() {
  auto x = source();
  x.resize(kOrdinaryRows * 256);
  const auto w = source_weights();
  std::map<std::string, std::pair<double, double>> errors;
  for (const Format* format : encodable(true)) {
    for (const bool known : {true, false}) {
      const auto y = coded(*format, x, known ? w.data() : nullptr);
      errors[fmt::format("{},{}", format->name, known ? "known" : "unknown")] = {relative_error(x, y, w.data()),
                                                                                 relative_error(x, y, nullptr)};
    }
  }
  return errors;
}

// A change of quality shows as a change of this file. To accept one: STEELYARD_UPDATE_GOLDEN=1 formats_test
// --gtest_filter=Encode.ErrorsAreTheCommittedOnes, and review the difference.
TEST(Encode, ErrorsAreTheCommittedOnes) {
  const std::string path = test::golden("encode_error.csv");
  const auto measured = measured_errors();
  if (std::getenv("STEELYARD_UPDATE_GOLDEN") != nullptr) {
    std::ofstream out(path);
    out << "type,importance,weighted,unweighted\n";
    for (const auto& [key, error] : measured) out << fmt::format("{},{:.5e},{:.5e}\n", key, error.first, error.second);
    GTEST_SKIP() << "wrote " << path;
  }
  std::istringstream lines(test::read_text(path));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "type,importance,weighted,unweighted");
  size_t n = 0;
  for (; std::getline(lines, line); ++n) {
    const size_t second = line.rfind(',');
    const size_t first = line.rfind(',', second - 1);
    const std::string key = line.substr(0, first);
    ASSERT_TRUE(measured.contains(key)) << key;
    const double weighted = std::stod(line.substr(first + 1));
    const double unweighted = std::stod(line.substr(second + 1));
    EXPECT_NEAR(measured.at(key).first, weighted, 1e-4 * weighted) << key;
    EXPECT_NEAR(measured.at(key).second, unweighted, 1e-4 * unweighted) << key;
  }
  EXPECT_EQ(n, measured.size());
}

}  // namespace
}  // namespace steelyard::formats
