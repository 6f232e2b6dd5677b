#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace steelyard::model {
namespace {

// Multi-section RoPE assigns sectors of pairs to time, height and width in turn, and the remaining ones to a fourth
// position (interleaved M-RoPE of Qwen3-VL). In text the first three are the token's position and the fourth is 0.
bool follows_text(const RopeConfig& rope, int64_t pair) {
  const int64_t n = std::accumulate(rope.sections.begin(), rope.sections.end(), int64_t{0});
  return n == 0 || pair % n < 3 * rope.sections[static_cast<size_t>(pair % n % 3)];
}

// Radians per position of every pair.
std::vector<double> frequencies(const RopeConfig& rope, std::span<const float> freq_factors) {
  const auto n = static_cast<double>(rope.n_dims);
  // Dimension at which a wave turns `beta` times within the original context.
  const auto correction = [&](double beta) {
    return n * std::log(static_cast<double>(rope.original_context) / (beta * 2 * std::numbers::pi)) /
           (2 * std::log(rope.freq_base));
  };
  const double low = std::max(0.0, std::floor(correction(rope.beta_fast)));
  const double high = std::min(n - 1, std::ceil(correction(rope.beta_slow)));

  std::vector<double> out(static_cast<size_t>(rope.n_dims / 2));
  for (size_t i = 0; i < out.size(); ++i) {
    const double plain = std::pow(rope.freq_base, -2.0 * static_cast<double>(i) / n) /
                         (freq_factors.empty() ? 1.0 : static_cast<double>(freq_factors[i]));
    const double stretched = plain / rope.factor;
    if (rope.scaling == RopeScaling::kNone) {
      out[i] = plain;
    } else if (rope.scaling != RopeScaling::kYarn) {
      out[i] = stretched;
    } else {
      const double position = (static_cast<double>(i) - low) / std::max(0.001, high - low);
      const double keep = 1.0 - std::clamp(position, 0.0, 1.0);  // fast waves stay, slow ones stretch
      out[i] = keep * plain + (1.0 - keep) * stretched;
    }
    if (!follows_text(rope, static_cast<int64_t>(i))) out[i] = 0;
  }
  return out;
}

}  // namespace

RopeTable make_rope_table(Backend& backend, const RopeConfig& rope, std::span<const float> freq_factors,
                          int64_t n_positions) {
  STEELYARD_CHECK(freq_factors.empty() || static_cast<int64_t>(freq_factors.size()) == rope.n_dims / 2);
  const std::vector<double> frequency = frequencies(rope, freq_factors);
  const size_t n = static_cast<size_t>(n_positions) * frequency.size();
  std::vector<float> values(2 * n);
  for (int64_t p = 0; p < n_positions; ++p) {
    for (size_t i = 0; i < frequency.size(); ++i) {
      const double angle = static_cast<double>(p) * frequency[i];
      const size_t at = static_cast<size_t>(p) * frequency.size() + i;
      values[at] = static_cast<float>(std::cos(angle) * rope.magnitude);
      values[n + at] = static_cast<float>(std::sin(angle) * rope.magnitude);
    }
  }
  RopeTable table;
  table.memory = backend.allocate_copy(values.data(), values.size() * sizeof(float));
  table.cos = reinterpret_cast<const float*>(table.memory.get());
  table.sin = table.cos + n;
  return table;
}

}  // namespace steelyard::model
