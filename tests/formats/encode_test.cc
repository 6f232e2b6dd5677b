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
#include "formats/grids.h"
#include "support.h"

namespace steelyard {
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

std::vector<std::byte> encode(const Format& format, const std::vector<float>& x, const float* importance) {
  const auto n_blocks = static_cast<int64_t>(x.size()) / format.block_len;
  std::vector<std::byte> bytes(static_cast<size_t>(n_blocks * format.block_bytes));
  format.encoder->encode_row(x.data(), importance, n_blocks, bytes.data());
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

  void fit() { format.encoder->fit(x, w, scales); }
  void round() {
    const int joint = format.encoder->joint;
    for (int i = 0; i < format.block_len; i += joint) {
      codes[i / joint] = format.encoder->round(x + i, w + i, scales, i, values + i);
    }
  }
  std::vector<float> packed() const {
    std::vector<std::byte> block(static_cast<size_t>(format.block_bytes));
    format.encoder->pack(scales, codes, block.data());
    return decode(format, block);
  }
  double error(const float* y) const { return squared_error(x, y, w, static_cast<size_t>(format.block_len)); }
};

/// Calls body(format, steps) for every block of the golden source with its objective.
template <class Body>
void for_each_block(const Body& body) {
  const auto x = source();
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
  for (const char* name : {"F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_K", "Q6_K", "IQ2_S", "IQ3_S", "IQ4_NL"}) {
    EXPECT_NE(std::ranges::find(names, name), names.end()) << name;
  }
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
  // Fitting twice the block and then refitting to the block itself must come down to the block's own size.
  for_each_block([](Steps& steps) {
    std::vector<float> twice(steps.x, steps.x + steps.format.block_len);
    for (float& value : twice) value *= 2.0f;
    steps.format.encoder->fit(twice.data(), steps.w, steps.scales);
    Steps doubled = steps;
    doubled.x = twice.data();
    doubled.round();
    const double spoilt = steps.error(doubled.values);
    doubled.format.encoder->refit(steps.x, steps.w, doubled.codes, doubled.scales);
    const double refitted = steps.error(doubled.packed().data());
    EXPECT_LE(refitted, 0.5 * spoilt);
  });
}

TEST(Encode, RoundTakesTheBestCode) {
  // Whatever single code one puts in place of the chosen one, the block is not better for it.
  for_each_block([](Steps& steps) {
    const int joint = steps.format.encoder->joint;
    if (joint > 1) return;
    steps.fit();
    steps.round();
    const double best = steps.error(steps.values);
    Steps other = steps;
    for (int i = 0; i < steps.format.block_len; i += 7) {
      for (const int step : {-1, 1}) {
        const int code = static_cast<int>(steps.codes[i]) + step;
        const int highest = 2 * static_cast<int>(*std::ranges::max_element(steps.codes)) + 2;
        if (code < 0 ||
            std::bit_width(static_cast<uint32_t>(code)) > std::bit_width(static_cast<uint32_t>(highest / 2)))
          continue;
        other.codes[i] = static_cast<uint32_t>(code);
        const auto decoded = other.packed();
        if (decoded[static_cast<size_t>(i)] != steps.values[i]) {
          EXPECT_GE(other.error(decoded.data()), best * (1.0 - 1e-6));
        }
        other.codes[i] = steps.codes[i];
      }
    }
  });
}

template <class Word>
void expect_best_codeword(const char* name, const Word* grid, uint32_t size) {
  const Format& format = *find_format(std::string_view(name));
  const auto joint = static_cast<size_t>(format.encoder->joint);
  const auto x = source();
  const auto importance = source_weights();
  for (size_t block = 0; block < kOrdinaryRows; ++block) {
    const float* const bx = &x[256 * block];
    std::vector<float> w(256);
    format.encoder->objective(bx, &importance[256 * block], w.data());
    Steps steps = {format, bx, w.data()};
    steps.fit();
    steps.round();
    for (size_t i = 0; i < 256; i += joint) {
      const Word chosen = grid[steps.codes[i / joint] & (size - 1)];
      const double scale = std::fabs(steps.values[i]) / static_cast<double>(chosen & 0xFF);
      double least = HUGE_VAL;
      for (uint32_t c = 0; c < size; ++c) {
        double error = 0.0;
        for (size_t j = 0; j < joint; ++j) {
          const double difference = std::fabs(bx[i + j]) - scale * static_cast<double>((grid[c] >> (8 * j)) & 0xFF);
          error += w[i + j] * difference * difference;
        }
        least = std::min(least, error);
      }
      const double own = squared_error(bx + i, steps.values + i, w.data() + i, joint);
      EXPECT_LE(own, least + 1e-5 * squared_error(bx + i, std::vector<float>(joint).data(), w.data() + i, joint));
    }
  }
}

TEST(Encode, RoundTakesTheBestCodeword) {
  expect_best_codeword("IQ2_S", iq2_s_grid(), 1024);
  expect_best_codeword("IQ3_S", iq3_s_grid(), 512);
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

TEST(Encode, RowsTogetherAndBlocksAloneGiveTheSameBytes) {
  const auto x = source();
  const auto w = source_weights();
  for (const bool quantized : {false, true}) {
    for (const Format* format : encodable(quantized)) {
      const auto together = encode(*format, x, w.data());
      std::vector<std::byte> alone(together.size());
      for (int64_t b = static_cast<int64_t>(x.size()) / format->block_len - 1; b >= 0; --b) {
        format->encoder->encode_row(&x[static_cast<size_t>(b * format->block_len)],
                                    &w[static_cast<size_t>(b * format->block_len)], 1,
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
    // A codeword has no zeros: beside a spike its smallest magnitudes are an error that no scale avoids.
    const double spike = format->encoder->joint > 1 ? 0.5 : 1e-2;
    const std::map<std::string, double> bounds = {
        {"zeros", 0.0}, {"constant", 2e-2}, {"negative constant", 2e-2}, {"one outlier", spike}, {"lone spike", spike}};
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
  // Powers of two commute with every step as long as halves stay normal.
  const auto x = source();
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
}  // namespace steelyard
