// Rows of every type multiplied from their blocks and as panels of bytes, for every target of this processor.
#include "compute/cpu/row_kernels.h"

#include <algorithm>
#include <random>

#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute::cpu {
namespace {

/// Activations as bytes.
class Bytes {
 public:
  Bytes(const BytePanels& panels, Matrix x, int planes)
      : width_((x.cols + kByteSpan - 1) / kByteSpan * kByteSpan), planes_(planes) {
    memory_.reserve(width_ * x.rows, planes);
    for (int64_t t = 0; t < x.rows; ++t) panels.quantize(x.row(t), x.cols, get().at(t, 0));
  }
  ByteInput get() { return memory_.at(0, width_); }
  int64_t width() const { return width_; }
  float scale(int64_t t, int64_t i) { return get().at(t, 0).scales[i / kByteGroup]; }
  int32_t code(int64_t t, int64_t i) {
    int32_t code = 0;
    for (int p = 0; p < planes_; ++p) code = 255 * code + get().at(t, 0).codes[p * width_ + i];
    return code;
  }
  /// What the bytes of a value stand for.
  double value(int64_t t, int64_t i) { return static_cast<double>(scale(t, i)) * code(t, i); }

 private:
  int64_t width_;
  int planes_;
  ByteInputs memory_;
};

class RowsOf : public testing::TestWithParam<simd::Target> {
 protected:
  const BytePanels& panels_ = byte_panels(GetParam());
};

INSTANTIATE_TEST_SUITE_P(Target, RowsOf,
                         testing::ValuesIn(simd::supported_targets().begin(), simd::supported_targets().end()),
                         [](const auto& instance) { return std::string(simd::target_name(instance.param)); });

TEST_P(RowsOf, ActivationsAreBytes) {
  for (const int planes : {1, 3}) {
    const int levels = planes == 1 ? 127 : 63 * 255 * 255 + 127 * 255 + 127;
    for (const int64_t n : {1, 15, 16, 17, 255, 256, 300}) {
      for (const float sigma : {1e-20f, 1.0f, 1e30f}) {
        Activations x(2, n, 1, 0, sigma);
        Bytes bytes(panels_, x.matrix(), planes);
        for (int64_t t = 0; t < 2; ++t) {
          const ByteInput in = bytes.get().at(t, 0);
          for (int64_t i = 0; i < bytes.width(); ++i) {
            const float value = i < n ? x.matrix().row(t)[i] : 0.0f;
            EXPECT_LE(std::abs(bytes.code(t, i)), levels);
            EXPECT_NEAR(bytes.value(t, i), value, 0.501 * bytes.scale(t, i) + 2e-7 * std::abs(value));
          }
          for (int64_t group = 0; group < bytes.width() / 16; ++group) {
            int sum = 0, of_fours[3] = {};
            for (int64_t i = 16 * group; i < 16 * group + 16; ++i) {
              sum += bytes.code(t, i);
              for (int p = 0; p < planes; ++p) of_fours[p] += in.codes[p * in.width + i];
            }
            EXPECT_EQ(in.sums[group], in.scales[group] * static_cast<float>(sum));
            if (group % 2 == 1) {
              EXPECT_EQ(in.pair_sums[group / 2], in.sums[group - 1] + in.sums[group]);
            }
            if (planes == 1) {
              EXPECT_EQ(in.offsets[group], -sum);
            }
            for (int p = 0; p < planes; ++p) {
              const int32_t* four = in.fours + (p * in.width + 16 * group) / 4;
              EXPECT_EQ(four[0] + four[1] + four[2] + four[3], -of_fours[p]);
            }
          }
        }
      }
    }
  }
}

TEST_P(RowsOf, WhatIsNotFiniteStaysSo) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Activations x(1, 64, 1);
    x.matrix().data[20] = bad;
    Bytes bytes(panels_, x.matrix(), 1);
    EXPECT_TRUE(std::isfinite(bytes.scale(0, 0)));
    EXPECT_TRUE(std::isnan(bytes.scale(0, 16)));
    EXPECT_TRUE(std::isnan(bytes.get().sums[1]));
    EXPECT_TRUE(std::isnan(bytes.get().pair_sums[0]));
  }
}

// Random bits as blocks: every code and scale of a type, as long as it is finite. Also rows that end within a span of
// 256. Products of bytes are exact for the values that the bytes stand for, however far these are from x.
TEST_P(RowsOf, EveryType) {
  std::mt19937 random(1);
  for (const formats::Format* format : formats::all_formats()) {
    if (format->decode == nullptr) continue;
    SCOPED_TRACE(format->name);
    const RowKernels& rows = cpu::row_kernels(GetParam(), *format);
    EXPECT_EQ(rows.unpack != nullptr, format->unpack != nullptr);
    EXPECT_EQ(rows.dot == nullptr, format->unpack != nullptr);
    for (int round = 0; round < 12; ++round) {
      const int64_t n_blocks = format->block_len == 1 ? 37
                                                      : (round % 3 == 0 ? 256 : 512) / format->block_len +
                                                            (format->block_len < 256 ? round % 3 : 0);
      const int64_t n = n_blocks * format->block_len, row_bytes = n_blocks * format->block_bytes,
                    n_rows = 1 + round * 7 % 33;
      std::vector<std::byte> bytes(static_cast<size_t>(row_bytes * n_rows));
      // Few high bits: scales of moderate size wherever they lie.
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & (round % 2 == 0 ? 0xBF : 0x3F));
      std::vector<float> weights(static_cast<size_t>(n * n_rows));
      for (int64_t b = 0; b < n_blocks * n_rows; ++b) {  // block by block, which is not how rows are read
        format->decode(bytes.data() + b * format->block_bytes, 1, weights.data() + b * format->block_len);
      }
      // The range of codes that panels rely on.
      for (int64_t b = 0; rows.unpack != nullptr && b < n_blocks * n_rows; ++b) {
        for (int g = 0; g < format->block_len / formats::kGroupLen; ++g) {
          formats::Group group;
          format->unpack(bytes.data() + b * format->block_bytes, g, group);
          const auto [least, most] = std::ranges::minmax(group.q);
          const PanelKind kind = rows.panel_kind;
          const int low = has_minima(kind)                 ? 0
                          : kind == PanelKind::kTinyCodes  ? -16
                          : kind == PanelKind::kSmallCodes ? -63
                                                           : -128;
          const int high = has_minima(kind)                 ? 32
                           : kind == PanelKind::kTinyCodes  ? 16
                           : kind == PanelKind::kSmallCodes ? 63
                                                            : 127;
          ASSERT_TRUE(low <= least && most <= high);
        }
      }
      const int64_t n_tokens = 1 + round % 9;
      Activations x(n_tokens, n, 2);
      // All as large as the scale allows, and of one sign: sums of products are then as large as they can be.
      for (int64_t t = 0; round % 4 == 3 && t < n_tokens; ++t)
        std::fill_n(x.matrix().row(t), n, t % 2 == 0 ? 1.0f : -1.0f);
      const auto expect_near = [&](float found, int64_t r, int64_t t, Bytes* bytes_of_x) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double input =
              bytes_of_x != nullptr ? bytes_of_x->value(t, i) : static_cast<double>(x.matrix().row(t)[i]);
          sum += weights[static_cast<size_t>(r * n + i)] * input;
          magnitude += std::abs(weights[static_cast<size_t>(r * n + i)] * input);
        }
        ASSERT_NEAR(found, sum, 2e-6 * magnitude + 1e-30) << r << " " << t;
      };
      if (rows.dot != nullptr) {
        for (int64_t r = 0; r < n_rows; ++r) {
          expect_near(rows.dot(bytes.data() + r * row_bytes, n_blocks, x.matrix().data), r, 0, nullptr);
        }
        continue;
      }
      Bytes inputs(panels_, x.matrix(), 1), fine(panels_, x.matrix(), 3);
      std::vector<float> results(static_cast<size_t>(n_tokens * n_rows));
      const auto result = [&](int64_t t, int64_t r) { return results[static_cast<size_t>(t * n_rows + r)]; };
      rows.dot_one_plane(bytes.data(), row_bytes, n_rows, n_blocks, inputs.get(), n_tokens, results.data(), n_rows);
      for (int64_t t = 0; t < n_tokens; ++t)
        for (int64_t r = 0; r < n_rows; ++r) expect_near(result(t, r), r, t, &inputs);
      rows.dot_three_planes(bytes.data(), row_bytes, n_rows, n_blocks, fine.get(), n_tokens, results.data(), n_rows);
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t r = 0; r < n_rows; ++r) {  // as good as floats
          expect_near(result(t, r), r, t, &fine);
          expect_near(result(t, r), r, t, nullptr);
        }
      }

      const int64_t depth = (n + kByteUnit - 1) / kByteUnit * kByteUnit, panel = panels_.panel;
      std::vector<float> memory[2];
      const auto make = [&](int i, int64_t of_depth) {
        memory[i].resize(static_cast<size_t>(panel * BytePanel::row_bytes(of_depth)) / sizeof(float), NAN);
        return BytePanel::in(reinterpret_cast<std::byte*>(memory[i].data()), panel, of_depth, rows.panel_kind);
      };
      const BytePanel unpacked = make(0, inputs.width()), packed = make(1, depth);
      for (int64_t first = 0; first < n_rows; first += panel) {
        const int64_t of_panel = std::min(panel, n_rows - first);
        rows.unpack(bytes.data() + first * row_bytes, row_bytes, of_panel, n_blocks, unpacked);
        panels_.pack(unpacked, of_panel, packed);
        Activations c(n_tokens, of_panel, 3);
        panels_.multiply(rows.panel_kind, n_tokens, of_panel, inputs.get(), packed, c.matrix().data, c.matrix().stride,
                         false);
        ASSERT_TRUE(c.untouched_outside());
        for (int64_t t = 0; t < n_tokens; ++t) {
          for (int64_t r = 0; r < of_panel; ++r) expect_near(c.matrix().row(t)[r], first + r, t, &inputs);
        }
        Activations twice = c;
        panels_.multiply(rows.panel_kind, n_tokens, of_panel, inputs.get(), packed, twice.matrix().data,
                         twice.matrix().stride, true);
        for (int64_t t = 0; t < n_tokens; ++t) {
          for (int64_t r = 0; r < of_panel; ++r) {
            EXPECT_NEAR(twice.matrix().row(t)[r], 2 * c.matrix().row(t)[r],
                        1e-3 * std::abs(c.matrix().row(t)[r]) + 1e-2);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::compute::cpu
