// Operations that all backends in host memory share: those of residual streams, and of what is chosen of the past. They
// are a small part of a layer, so their formulas are computed in double, rows in parallel.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "compute/host_backend.h"

namespace steelyard::compute {
namespace {

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

// ln(1 + e^z), without overflow.
double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))); }

void softmax(std::span<double> values) {
  const double max = *std::ranges::max_element(values);
  double sum = 0;
  for (double& value : values) sum += value = std::exp(value - max);
  for (double& value : values) value /= sum;
}

}  // namespace

void HostBackend::center(Matrix x) {
  parallel_for(x.rows, 16, [&](int64_t t) {
    float* const row = x.row(t);
    const double mean = std::accumulate(row, row + x.cols, 0.0) / static_cast<double>(x.cols);
    for (int64_t c = 0; c < x.cols; ++c) row[c] = static_cast<float>(row[c] - mean);
  });
}

void HostBackend::softmax(Matrix x) {
  parallel_for(x.rows, 16, [&](int64_t t) {
    std::vector<double> values(x.row(t), x.row(t) + x.cols);
    compute::softmax(values);
    std::ranges::copy(values, x.row(t));
  });
}

// state: [n_head, head, n_state].
void HostBackend::state_space(const StateSpaceArgs& args, float* state, Matrix out) {
  const int64_t d = args.head, n = args.n_state;
  parallel_for(args.n_head, 1, [&](int64_t h) {
    const int64_t group = h / (args.n_head / args.n_group);
    float* const all = state + h * d * n;
    for (int64_t t = 0; t < out.rows; ++t) {
      const double step = softplus(static_cast<double>(args.dt.row(t)[h]) + args.dt_bias[h]);
      const auto decay = static_cast<float>(std::exp(step * args.decay[h]));
      const float* const b = args.b.row(t) + group * n;
      const float* const c = args.c.row(t) + group * n;
      for (int64_t i = 0; i < d; ++i) {
        const float x = args.x.row(t)[h * d + i];
        const auto write = static_cast<float>(step * x);
        float* const s = all + i * n;
        double read = 0;
        for (int64_t j = 0; j < n; ++j) {
          s[j] = decay * s[j] + write * b[j];
          read += static_cast<double>(s[j]) * c[j];
        }
        out.row(t)[h * d + i] = static_cast<float>(read + static_cast<double>(args.skip[h]) * x);
      }
    }
  });
}

void HostBackend::hyper_weights(const HyperArgs& args, Matrix m) {
  const int64_t n = args.n_streams;
  STEELYARD_CHECK(m.cols == n || m.cols == n * (n + 2));
  parallel_for(m.rows, 8, [&](int64_t t) {
    float* const row = m.row(t);
    const auto value = [&](int64_t c, int64_t part) {
      return static_cast<double>(row[c]) * args.scale[part] + args.base[c];
    };
    for (int64_t c = 0; c < n; ++c) row[c] = static_cast<float>(sigmoid(value(c, 0)) + args.eps);
    if (m.cols == n) return;
    for (int64_t c = n; c < 2 * n; ++c) row[c] = static_cast<float>(2.0 * sigmoid(value(c, 1)));
    std::vector<double> mix(static_cast<size_t>(n * n));  // [source][target]
    for (int64_t i = 0; i < n * n; ++i) mix[static_cast<size_t>(i)] = value(2 * n + i, 2);
    for (int64_t source = 0; source < n; ++source) {
      const auto targets = std::span(mix).subspan(static_cast<size_t>(source * n), static_cast<size_t>(n));
      compute::softmax(targets);
      for (double& weight : targets) weight += args.eps;
    }
    // Divides n values, `stride` apart, by their sum.
    const auto divide = [&](int64_t begin, int64_t stride) {
      double sum = args.eps;
      for (int64_t i = 0; i < n; ++i) sum += mix[static_cast<size_t>(begin + i * stride)];
      for (int64_t i = 0; i < n; ++i) mix[static_cast<size_t>(begin + i * stride)] /= sum;
    };
    for (int64_t iteration = 0; iteration < args.n_iterations; ++iteration) {
      for (int64_t source = 0; iteration > 0 && source < n; ++source) divide(source * n, 1);
      for (int64_t target = 0; target < n; ++target) divide(target, n);
    }
    for (int64_t i = 0; i < n * n; ++i) row[2 * n + i] = static_cast<float>(mix[static_cast<size_t>(i)]);
  });
}

void HostBackend::mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add) {
  const int64_t n_in = x.cols / width, n_out = out.cols / width;
  STEELYARD_CHECK(x.cols % width == 0 && out.cols % width == 0 && weights.cols == n_in * n_out);
  parallel_for(x.rows, 8, [&](int64_t t) {
    const float* const weight = weights.row(t);
    for (int64_t to = 0; to < n_out; ++to) {
      float* const target = out.row(t) + to * width;
      if (!add) std::fill_n(target, width, 0.0f);
      for (int64_t from = 0; from < n_in; ++from) {
        const float factor = weight[from * n_out + to];
        const float* const source = x.row(t) + from * width;
        for (int64_t c = 0; c < width; ++c) target[c] += factor * source[c];
      }
    }
  });
}

void HostBackend::similarity_gate(Matrix x, Matrix y, Matrix out) {
  parallel_for(x.rows, 16, [&](int64_t r) {
    double dot = 0;
    for (int64_t c = 0; c < x.cols; ++c) dot += static_cast<double>(x.row(r)[c]) * y.row(r)[c];
    dot /= std::sqrt(static_cast<double>(x.cols));
    *out.row(r) = static_cast<float>(sigmoid(std::copysign(std::sqrt(std::max(std::abs(dot), 1e-6)), dot)));
  });
}

void HostBackend::softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out) {
  STEELYARD_CHECK(out.rows == x.rows / n && scores.rows == x.rows && scores.cols == x.cols && out.cols == x.cols);
  parallel_for(out.rows, 1, [&](int64_t b) {
    std::vector<double> weights(static_cast<size_t>(n));
    for (int64_t c = 0; c < x.cols; ++c) {
      for (int64_t i = 0; i < n; ++i) weights[static_cast<size_t>(i)] = scores.row(b * n + i)[c];
      compute::softmax(weights);
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += weights[static_cast<size_t>(i)] * x.row(b * n + i)[c];
      out.row(b)[c] = static_cast<float>(sum);
    }
  });
}

void HostBackend::index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) {
  const int64_t width = k.cols, n_head = weights.cols;
  STEELYARD_CHECK(q.cols == n_head * width && scores.rows == q.rows && scores.cols == k.rows);
  parallel_for(k.rows, 1, [&](int64_t s) {
    std::vector<float> key(static_cast<size_t>(width));
    k.format->decode(k.row(s), width / k.format->block_len, key.data());
    for (int64_t t = 0; t < q.rows; ++t) {
      double score = 0;
      for (int64_t h = 0; h < n_head; ++h) {
        double dot = 0;
        for (int64_t i = 0; i < width; ++i)
          dot += static_cast<double>(q.row(t)[h * width + i]) * key[static_cast<size_t>(i)];
        score += weights.row(t)[h] * std::max(dot, 0.0);
      }
      scores.row(t)[s] = static_cast<float>(score);
    }
  });
}

void HostBackend::select(const SelectArgs& args, Matrix scores, Matrix visible) {
  // A number that is larger for a larger score; both zeros are equal, and even NaN has a place in the order.
  const auto rank = [](float score) {
    const auto bits = std::bit_cast<uint32_t>(score == 0 ? 0.0f : score);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  };
  parallel_for(scores.rows, 4, [&](int64_t t) {
    const int64_t n_seen = args.first_position + t + 1, n_complete = std::min(n_seen / args.block, scores.cols);
    std::vector<int64_t> order(static_cast<size_t>(n_complete));
    std::iota(order.begin(), order.end(), 0);
    const auto better = [&](int64_t a, int64_t b) {
      const uint32_t first = rank(scores.row(t)[a]), second = rank(scores.row(t)[b]);
      return first > second || (first == second && a < b);
    };
    const int64_t n_best = std::min(args.n_best, n_complete);
    std::nth_element(order.begin(), order.begin() + n_best, order.end(), better);
    float* const row = visible.row(t);
    std::fill_n(row, visible.cols, 0.0f);
    const int64_t width = args.positions ? args.block : 1;
    for (int64_t i = 0; i < n_best; ++i) std::fill_n(row + order[static_cast<size_t>(i)] * width, width, 1.0f);
    if (args.positions) std::fill(row + n_seen / args.block * args.block, row + n_seen, 1.0f);
  });
}

}  // namespace steelyard::compute
