// Rows of every type multiplied from their blocks and as panels of bytes, for every target of this processor.
#include "compute/cpu/rows.h"

#include <random>

#include "compute/activations.h"
#include "support.h"

namespace steelyard::cpu {
namespace {

using test::Activations;

/// Activations as bytes and the memory behind them.
class Bytes {
 public:
  Bytes(const BytePanels& panels, Matrix x)
      : width_((x.cols + kByteSpan - 1) / kByteSpan * kByteSpan),
        codes_(static_cast<size_t>(width_ * x.rows)),
        scales_(codes_.size() / 16),
        sums_(scales_.size()),
        pair_sums_(scales_.size() / 2),
        offsets_(scales_.size()) {
    for (int64_t t = 0; t < x.rows; ++t) panels.quantize(x.row(t), x.cols, get().at(t, 0));
  }
  ByteInput get() { return {width_, codes_.data(), scales_.data(), sums_.data(), pair_sums_.data(), offsets_.data()}; }
  int64_t width() const { return width_; }
  float scale(int64_t t, int64_t i) const { return scales_[static_cast<size_t>((t * width_ + i) / 16)]; }
  /// What the bytes of a value stand for.
  double value(int64_t t, int64_t i) const {
    return static_cast<double>(scale(t, i)) * codes_[static_cast<size_t>(t * width_ + i)];
  }
  int code(int64_t t, int64_t i) const { return codes_[static_cast<size_t>(t * width_ + i)]; }

 private:
  int64_t width_;
  std::vector<int8_t> codes_;
  std::vector<float> scales_, sums_, pair_sums_;
  std::vector<int32_t> offsets_;
};

class RowsOf : public testing::TestWithParam<simd::Target> {
 protected:
  const BytePanels& panels_ = byte_panels(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Target, RowsOf,
                         testing::ValuesIn(simd::supported_targets().begin(), simd::supported_targets().end()),
                         [](const auto& instance) { return std::string(simd::target_name(instance.param)); });

TEST_P(RowsOf, ActivationsAreBytes) {
  for (const int64_t n : {1, 15, 16, 17, 255, 256, 300}) {
    for (const float sigma : {1e-20f, 1.0f, 1e30f}) {
      Activations x(2, n, 1, 0, sigma);
      Bytes bytes(panels_, x.matrix());
      for (int64_t t = 0; t < 2; ++t) {
        for (int64_t i = 0; i < bytes.width(); ++i) {
          const float value = i < n ? x.matrix().row(t)[i] : 0.0f;
          EXPECT_LE(std::abs(bytes.code(t, i)), 127);
          EXPECT_NEAR(bytes.value(t, i), value, 0.501 * bytes.scale(t, i));
        }
        const ByteInput in = bytes.get().at(t, 0);
        for (int64_t group = 0; group < bytes.width() / 16; ++group) {
          int sum = 0;
          for (int64_t i = 0; i < 16; ++i) sum += bytes.code(t, 16 * group + i);
          EXPECT_EQ(in.sums[group], in.scales[group] * static_cast<float>(sum));
          if (group % 2 == 1) {
            EXPECT_EQ(in.pair_sums[group / 2], in.sums[group - 1] + in.sums[group]);
          }
          EXPECT_TRUE(in.offsets[group] == 0 || in.offsets[group] == -128 * sum);
        }
      }
    }
  }
}

TEST_P(RowsOf, WhatIsNotFiniteStaysSo) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Activations x(1, 64, 1);
    x.matrix().data[20] = bad;
    Bytes bytes(panels_, x.matrix());
    EXPECT_TRUE(std::isfinite(bytes.scale(0, 0)));
    EXPECT_TRUE(std::isnan(bytes.scale(0, 16)));
    EXPECT_TRUE(std::isnan(bytes.get().sums[1]));
    EXPECT_TRUE(std::isnan(bytes.get().pair_sums[0]));
  }
}

// Random bits as blocks: every code and scale that a type has, as long as it is finite. Rows that end within a span of
// 256, too. Products of bytes are exact for what the bytes stand for, whatever that has to do with x.
TEST_P(RowsOf, EveryType) {
  std::mt19937 random(1);
  for (const Format* format : all_formats()) {
    if (format->decode == nullptr) continue;
    SCOPED_TRACE(format->name);
    const Rows& rows = cpu::rows(GetParam(), *format);
    EXPECT_EQ(rows.dot_bytes != nullptr, format->unpack != nullptr);
    for (int round = 0; round < 12; ++round) {
      const int64_t n_blocks = format->block_len == 1 ? 37 : (round % 3 == 0 ? 256 : 512) / format->block_len + (format->block_len < 256 ? round % 3 : 0);
      const int64_t n = n_blocks * format->block_len, row_bytes = n_blocks * format->block_bytes, n_rows = 1 + round * 7 % 33;
      std::vector<std::byte> bytes(static_cast<size_t>(row_bytes * n_rows));
      // Few high bits: scales of moderate size wherever they lie.
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & (round % 2 == 0 ? 0xBF : 0x3F));
      std::vector<float> weights(static_cast<size_t>(n * n_rows));
      for (int64_t b = 0; b < n_blocks * n_rows; ++b) {  // block by block, which is not how rows are read
        format->decode(bytes.data() + b * format->block_bytes, 1, weights.data() + b * format->block_len);
      }
      const int64_t n_tokens = 1 + round % 9;
      Activations x(n_tokens, n, 2);
      Bytes inputs(panels_, x.matrix());
      const auto expect_near = [&](float found, int64_t r, int64_t t, bool of_bytes) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double input = of_bytes ? inputs.value(t, i) : static_cast<double>(x.matrix().row(t)[i]);
          sum += weights[static_cast<size_t>(r * n + i)] * input;
          magnitude += std::abs(weights[static_cast<size_t>(r * n + i)] * input);
        }
        ASSERT_NEAR(found, sum, 1e-5 * magnitude + 1e-30) << r << " " << t;
      };
      for (int64_t r = 0; r < n_rows; ++r) {
        expect_near(rows.dot(bytes.data() + r * row_bytes, n_blocks, x.matrix().data), r, 0, false);
      }
      if (rows.dot_bytes == nullptr) continue;
      std::vector<float> results(static_cast<size_t>(n_rows));
      rows.dot_bytes(bytes.data(), row_bytes, n_rows, n_blocks, inputs.get(), results.data());
      for (int64_t r = 0; r < n_rows; ++r) expect_near(results[static_cast<size_t>(r)], r, 0, true);

      const int64_t depth = (n + kByteUnit - 1) / kByteUnit * kByteUnit, panel = panels_.panel;
      std::vector<float> memory[2];
      const auto make = [&](int i, int64_t of_depth) {
        memory[i].resize(static_cast<size_t>(panel * BytePanel::row_bytes(of_depth)) / sizeof(float), NAN);
        return BytePanel::in(reinterpret_cast<std::byte*>(memory[i].data()), panel, of_depth, rows.minima);
      };
      const BytePanel unpacked = make(0, inputs.width()), packed = make(1, depth);
      for (int64_t first = 0; first < n_rows; first += panel) {
        const int64_t of_panel = std::min(panel, n_rows - first);
        rows.unpack(bytes.data() + first * row_bytes, row_bytes, of_panel, n_blocks, unpacked);
        panels_.pack(unpacked, of_panel, packed);
        Activations c(n_tokens, of_panel, 3);
        panels_.multiply(rows.minima, n_tokens, of_panel, inputs.get(), packed, c.matrix().data, c.matrix().stride, false);
        ASSERT_TRUE(c.untouched_outside());
        for (int64_t t = 0; t < n_tokens; ++t) {
          for (int64_t r = 0; r < of_panel; ++r) expect_near(c.matrix().row(t)[r], first + r, t, true);
        }
        Activations twice = c;
        panels_.multiply(rows.minima, n_tokens, of_panel, inputs.get(), packed, twice.matrix().data,
                         twice.matrix().stride, true);
        for (int64_t t = 0; t < n_tokens; ++t) {
          for (int64_t r = 0; r < of_panel; ++r) {
            EXPECT_NEAR(twice.matrix().row(t)[r], 2 * c.matrix().row(t)[r], 1e-3 * std::abs(c.matrix().row(t)[r]) + 1e-2);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::cpu
