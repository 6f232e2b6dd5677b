// Numerical derivatives: what gradients are compared with.
//
// A loss is a number that is computed from inputs in memory. It is summed in double, and the inputs are of order 1, so
// what limits the differences is the rounding of results to floats.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "compute/activations.h"

namespace steelyard::compute {

using Numbers = std::vector<double>;

/// The values of x, row by row.
inline Numbers numbers(Matrix x) {
  Numbers all;
  for (int64_t r = 0; r < x.rows; ++r) all.insert(all.end(), x.row(r), x.row(r) + x.cols);
  return all;
}

/// As a matrix of one row.
inline Matrix as_row(std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  return {values.data(), 1, n, n};
}

/// A loss whose gradient with respect to x is `weights`.
inline double weighted_sum(Matrix x, Matrix weights) {
  const Numbers a = numbers(x), b = numbers(weights);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The largest difference, as a part of the largest expected magnitude.
inline double largest_error(const Numbers& found, const Numbers& expected) {
  double error = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(found.at(i) - expected[i]);
    if (!(difference <= error)) error = difference;  // a NaN stays
    largest = std::max(largest, std::abs(expected[i]));
  }
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_GT(largest, 0.0);
  return error / largest;
}

/// Where an operation adds a gradient. Something else is in it before.
class GradientSum {
 public:
  GradientSum(int64_t rows, int64_t cols, uint32_t seed) : now_(rows, cols, seed), before_(rows, cols, seed) {}

  Matrix matrix() { return now_.matrix(); }
  float* data() { return matrix().data; }

  /// What was added.
  Numbers added() {
    EXPECT_TRUE(now_.untouched_outside());
    Numbers sums = numbers(now_.matrix());
    const Numbers before = numbers(before_.matrix());
    for (size_t i = 0; i < sums.size(); ++i) sums[i] -= before[i];
    return sums;
  }

 private:
  Activations now_, before_;
};

/// The derivative at 0, by central differences of order 8: they need no small steps, with which rounding would grow.
template <typename Function>
double derivative(const Function& at, double step) {
  constexpr double kFactors[] = {4.0 / 5, -1.0 / 5, 4.0 / 105, -1.0 / 280};
  double sum = 0;
  for (int i = 1; i <= 4; ++i) sum += kFactors[i - 1] * (at(i * step) - at(-i * step));
  return sum / step;
}

/// An input of a loss, and what was found as the gradient with respect to it. The number i moves by sizes[i] per unit;
/// without sizes by 1.
struct Input {
  Matrix values;
  Numbers gradient;
  Numbers sizes = {};
};

/// Moves all inputs together along random directions. Returns the largest difference between the derivative of `loss`
/// and that by the gradients, as a part of the norm of the gradients.
template <typename Loss>
double directional_error(std::span<const Input> inputs, const Loss& loss, double step, int n_directions) {
  std::mt19937 random(17);
  std::normal_distribution<double> normal;
  double worst = 0, squares = 0;
  for (const Input& input : inputs) {
    EXPECT_EQ(input.gradient.size(), static_cast<size_t>(input.values.rows * input.values.cols));
    for (size_t i = 0; i < input.gradient.size(); ++i) {
      const double size = input.sizes.empty() ? 1.0 : input.sizes.at(i);
      squares += input.gradient[i] * size * input.gradient[i] * size;
    }
  }
  EXPECT_GT(squares, 0.0);
  for (int n = 0; n < n_directions; ++n) {
    std::vector<Numbers> before, directions;
    double found = 0;
    for (const Input& input : inputs) {
      before.push_back(numbers(input.values));
      Numbers direction(before.back().size());
      for (size_t i = 0; i < direction.size(); ++i) {
        direction[i] = normal(random) * (input.sizes.empty() ? 1.0 : input.sizes[i]);
        found += direction[i] * input.gradient[i];
      }
      directions.push_back(std::move(direction));
    }
    const auto move = [&](double to) {
      for (size_t n_input = 0; n_input < inputs.size(); ++n_input) {
        const Matrix x = inputs[n_input].values;
        for (int64_t r = 0; r < x.rows; ++r) {
          for (int64_t c = 0; c < x.cols; ++c) {
            const auto i = static_cast<size_t>(r * x.cols + c);
            x.row(r)[c] = static_cast<float>(before[n_input][i] + to * directions[n_input][i]);
          }
        }
      }
    };
    const auto at = [&](double to) {
      move(to);
      return static_cast<double>(loss());
    };
    const double error = std::abs(derivative(at, step) - found);
    if (!(error <= worst)) worst = error;  // a NaN stays
    move(0);
  }
  return worst / std::sqrt(squares);
}

/// The gradients are those of `loss`, input by input: one whose gradient is small counts as much as the others.
template <typename Loss>
void expect_gradients(const std::vector<Input>& inputs, const Loss& loss, double step = 0.03, double tolerance = 1e-4) {
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_LE(directional_error(std::span(inputs).subspan(i, 1), loss, step, 6), tolerance) << "input " << i;
}

}  // namespace steelyard::compute
