// Random activations, weights and routings for the tests of backends. Every matrix is a strided view whose surroundings
// are poisoned, so that a write outside the view shows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "compute/backend.h"
#include "compute/routing.h"

namespace steelyard::compute {

/// [rows, cols] with `gap` unused columns between rows.
class Activations {
 public:
  Activations(int64_t rows, int64_t cols, uint32_t seed, int64_t gap = 5, float sigma = 1.0f)
      : rows_(rows), cols_(cols), stride_(cols + gap), values_(static_cast<size_t>((rows + 1) * stride_), kPoison) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, sigma);
    for (int64_t r = 0; r < rows; ++r) std::generate_n(matrix().row(r), cols, [&] { return normal(random); });
  }

  Matrix matrix() { return {values_.data() + stride_ / 2, rows_, cols_, stride_}; }

  /// Nothing outside the view was written.
  bool untouched_outside() const {
    const int64_t begin = stride_ / 2;
    for (int64_t i = 0; i < static_cast<int64_t>(values_.size()); ++i) {
      const int64_t r = (i - begin) / stride_, c = (i - begin) % stride_;
      const bool inside = i >= begin && r < rows_ && c < cols_;
      if (!inside && values_[static_cast<size_t>(i)] != kPoison) return false;
    }
    return true;
  }

 private:
  static constexpr float kPoison = -12345.0f;
  int64_t rows_, cols_, stride_;
  std::vector<float> values_;
};

/// Activations of every kind, with limits that random values exceed.
inline const std::vector<Activation>& all_activations() {
  static const std::vector<Activation> all = {
      Activation::kSwiglu,        {Activation::kSwiglu, 1.5f}, {Activation::kCappedSwiglu, 0.75f},
      Activation::kGeglu,         Activation::kClampedSwiglu,  {Activation::kSitu, 2.0f, 3.0f},
      {Activation::kSitu, 1.25f}, Activation::kReluSquared,    Activation::kProduct};
  return all;
}

/// One product whose rows go through the slices of their experts.
inline void mul_mat_experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing, Matrix out) {
  const Product product{&weight, 0, x, out, &routing};
  backend.mul_mats({&product, 1});
}

/// Same bits everywhere.
inline bool identical(Matrix a, Matrix b) {
  for (int64_t r = 0; r < a.rows; ++r) {
    if (std::memcmp(a.row(r), b.row(r), static_cast<size_t>(a.cols) * sizeof(float)) != 0) return false;
  }
  return a.rows == b.rows && a.cols == b.cols;
}

/// Equal within `tolerance` of the scale of rounding errors: the row's largest expected magnitude, at least
/// `least_scale` (for sums whose terms cancel, the magnitude of the terms).
inline void expect_close(Matrix found, Matrix expected, float tolerance, float least_scale = 1e-30f) {
  ASSERT_EQ(found.rows, expected.rows);
  ASSERT_EQ(found.cols, expected.cols);
  for (int64_t r = 0; r < found.rows; ++r) {
    float scale = least_scale;
    for (int64_t c = 0; c < found.cols; ++c) scale = std::max(scale, std::abs(expected.row(r)[c]));
    for (int64_t c = 0; c < found.cols; ++c) {
      ASSERT_NEAR(found.row(r)[c], expected.row(r)[c], tolerance * scale) << "row " << r << ", column " << c;
    }
  }
}

/// A weight of any type; random values, or for types that are blocks random bits with moderate scales.
class RandomWeight {
 public:
  RandomWeight(formats::Type type, int64_t n_in, int64_t n_out, int64_t n_slices, uint32_t seed) {
    const formats::Format& format = formats::format(type);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<size_t>(n_in)), ones(static_cast<size_t>(n_in), 1.0f);
    weight_ = {"test.weight", &format, n_in, n_out, n_slices, nullptr};
    bytes_.resize(static_cast<size_t>(weight_.row_bytes() * n_out * n_slices));
    for (int64_t r = 0; r < n_out * n_slices; ++r) {
      std::ranges::generate(row, [&] { return normal(random); });
      format.encoder->encode_row(row.data(), ones.data(), n_in / format.block_len, formats::Effort::kFast,
                                 bytes_.data() + r * weight_.row_bytes());
    }
    weight_.data = bytes_.data();
  }
  const Weight& get() const { return weight_; }

 private:
  std::vector<std::byte> bytes_;
  Weight weight_;
};

/// A routing and the memory behind it.
class RoutingMemory {
 public:
  RoutingMemory(int64_t n_tokens, int64_t n_used, int64_t n_expert)
      : slots_(static_cast<size_t>(n_tokens * n_used)),
        expert_(slots_),
        row_(slots_),
        token_(slots_),
        row_begin_(static_cast<size_t>(n_expert) + 1),
        weight_(slots_) {
    routing_ = {n_tokens,       n_used,      n_expert,      expert_.data(),
                weight_.data(), row_.data(), token_.data(), row_begin_.data()};
  }
  Routing& get() { return routing_; }

 private:
  size_t slots_;
  std::vector<int32_t> expert_, row_, token_, row_begin_;
  std::vector<float> weight_;
  Routing routing_;
};

/// Tokens to different random experts; expert 0 gets nobody where there is a choice.
inline void fill_randomly(Routing& routing, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0.1f, 1.0f);
  std::vector<int32_t> experts(static_cast<size_t>(routing.n_expert));
  for (int32_t e = 0; e < routing.n_expert; ++e) experts[static_cast<size_t>(e)] = e;
  const auto first = experts.begin() + (routing.n_used < routing.n_expert ? 1 : 0);
  for (int64_t t = 0; t < routing.n_tokens; ++t) {
    std::shuffle(first, experts.end(), random);
    for (int64_t rank = 0; rank < routing.n_used; ++rank) {
      routing.expert[t * routing.n_used + rank] = first[rank];
      routing.weight[t * routing.n_used + rank] = uniform(random);
    }
  }
  sort_by_expert(routing);
}

}  // namespace steelyard::compute
