#include "compute/ref/ref_backend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace steelyard::compute {
namespace {

double silu(double z) { return z / (1.0 + std::exp(-z)); }

double activate(const Activation& activation, double g, double u) {
  const double limit = activation.limit, up_limit = activation.up_limit;
  switch (activation.kind) {
    case Activation::kSwiglu:
      return limit > 0 ? silu(std::min(g, limit)) * std::clamp(u, -limit, limit) : silu(g) * u;
    case Activation::kCappedSwiglu:
      return std::min(silu(g), limit) * std::clamp(u, -limit, limit);
    case Activation::kSitu:
      return limit * std::tanh(g / limit) / (1.0 + std::exp(-g)) *
             (up_limit > 0 ? up_limit * std::tanh(u / up_limit) : u);
    case Activation::kReluSquared:
      return std::max(g, 0.0) * std::max(g, 0.0);
    case Activation::kProduct:
      return g * u;
    case Activation::kGeglu:
      return 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (g + 0.044715 * g * g * g))) * u;
    case Activation::kClampedSwiglu:
      g = std::min(g, 7.0);
      return g / (1.0 + std::exp(-1.702 * g)) * (std::clamp(u, -7.0, 7.0) + 1.0);
  }
  STEELYARD_CHECK(false);
}

std::vector<float> decoded(TypedRows rows) {
  std::vector<float> values(static_cast<size_t>(rows.rows * rows.cols));
  for (int64_t r = 0; r < rows.rows; ++r) {
    rows.format->decode(rows.row(r), rows.cols / rows.format->block_len, values.data() + r * rows.cols);
  }
  return values;
}

void multiply_slice(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
  STEELYARD_CHECK(x.cols == weight.n_in && out.cols == weight.n_out && x.rows == out.rows);
  std::vector<float> row(static_cast<size_t>(weight.n_in));
  for (int64_t o = 0; o < weight.n_out; ++o) {
    weight.format->decode(weight.row(slice, o), weight.n_in / weight.format->block_len, row.data());
    for (int64_t t = 0; t < x.rows; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < weight.n_in; ++i) sum += static_cast<double>(row[i]) * x.row(t)[i];
      out.row(t)[o] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void RefBackend::rms_norm(Matrix x, const float* weight, float eps, Matrix out) {
  for (int64_t t = 0; t < x.rows; ++t) {
    double sum = 0;
    for (int64_t c = 0; c < x.cols; ++c) sum += static_cast<double>(x.row(t)[c]) * x.row(t)[c];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.cols) + eps);
    for (int64_t c = 0; c < x.cols; ++c)
      out.row(t)[c] = static_cast<float>(x.row(t)[c] * scale * (weight != nullptr ? weight[c] : 1.0f));
  }
}

void RefBackend::add(Matrix x, Matrix y) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) x.row(t)[c] += y.row(t)[c];
  }
}

void RefBackend::add_row(Matrix x, const float* row) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) x.row(t)[c] += row[c];
  }
}

void RefBackend::scale(Matrix x, float factor) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) x.row(t)[c] *= factor;
  }
}

void RefBackend::softcap(Matrix x, float cap) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) {
      x.row(t)[c] = static_cast<float>(cap * std::tanh(static_cast<double>(x.row(t)[c]) / cap));
    }
  }
}

void RefBackend::gated(Activation activation, Matrix gate, Matrix up) {
  for (int64_t t = 0; t < gate.rows; ++t) {
    for (int64_t c = 0; c < gate.cols; ++c) {
      const float u = activation.kind == Activation::kReluSquared ? 0.0f : up.row(t)[c];
      gate.row(t)[c] = static_cast<float>(activate(activation, gate.row(t)[c], u));
    }
  }
}

void RefBackend::multiply(std::span<const Product> products) {
  for (const Product& product : products) multiply_slice(*product.weight, product.slice, product.x, product.out);
}
void RefBackend::rope(Matrix x, const RopeArgs& args) {
  const int64_t half = args.n_dims / 2;
  for (int64_t t = 0; t < x.rows; ++t) {
    const float* cos = args.cos + (args.first_position + t * args.step) * half;
    const float* sin = args.sin + (args.first_position + t * args.step) * half;
    for (int64_t h = 0; h < args.n_head; ++h) {
      float* v = x.row(t) + h * args.head_stride;
      for (int64_t i = 0; i < half; ++i) {
        float& a = args.pairs == RopePairs::kNorm ? v[2 * i] : v[i];
        float& b = args.pairs == RopePairs::kNorm ? v[2 * i + 1] : v[i + half];
        const float a0 = a, b0 = b;
        const float s = args.transposed ? -sin[i] : sin[i];
        a = a0 * cos[i] - b0 * s;
        b = a0 * s + b0 * cos[i];
      }
    }
  }
}

namespace {

void attend(const AttentionArgs& args, Matrix out) {
  const bool chosen = args.visible.data != nullptr;
  const int64_t n_rows = chosen ? args.visible.cols : args.first_position + args.q.rows;
  const std::vector<float> all_keys = decoded(args.k.slice(0, n_rows)), all_values = decoded(args.v.slice(0, n_rows));
  for (int64_t t = 0; t < args.q.rows; ++t) {
    std::vector<int64_t> seen;
    for (int64_t s = 0; s < n_rows; ++s) {
      const int64_t distance = args.first_position + t - s;
      const bool near = distance >= 0 && (args.window == 0 || distance < args.window);
      if (chosen ? args.visible.row(t)[s] > 0 : near) seen.push_back(s);
    }
    std::vector<double> p(static_cast<size_t>(n_rows));
    for (int64_t h = 0; h < args.n_head; ++h) {
      const int64_t kv = h * args.n_head_kv / args.n_head;
      const float* q = args.q.row(t) + h * args.head_k;
      double max = args.sinks != nullptr ? args.sinks[h] : -std::numeric_limits<double>::infinity();
      for (const int64_t s : seen) {
        const float* k = all_keys.data() + s * args.k.cols + kv * args.head_k;
        double dot = 0;
        for (int64_t i = 0; i < args.head_k; ++i) dot += static_cast<double>(q[i]) * k[i];
        p[s] = dot * args.scale;
        if (args.softcap > 0) p[s] = args.softcap * std::tanh(p[s] / args.softcap);
        max = std::max(max, p[s]);
      }
      double sum = args.sinks != nullptr ? std::exp(args.sinks[h] - max) : 0;
      for (const int64_t s : seen) sum += p[s] = std::exp(p[s] - max);
      for (int64_t i = 0; i < args.head_v; ++i) {
        double mix = 0;
        for (const int64_t s : seen)
          mix += p[s] * all_values[static_cast<size_t>(s * args.v.cols + kv * args.head_v + i)];
        out.row(t)[h * args.head_v + i] = static_cast<float>(sum > 0 || std::isnan(sum) ? mix / sum : 0.0);
      }
    }
  }
}

}  // namespace

void RefBackend::attentions(std::span<const Attention> sequences) {
  for (const Attention& sequence : sequences) attend(sequence.args, sequence.out);
}

void RefBackend::gather(Matrix x, const Routing& routing, Matrix out) {
  for (int64_t r = 0; r < routing.n_slots(); ++r) {
    std::copy_n(x.row(routing.token[r]), x.cols, out.row(r));
  }
}

void RefBackend::combine(Matrix y, const Routing& routing, Matrix out) {
  for (int64_t t = 0; t < routing.n_tokens; ++t) {
    for (int64_t c = 0; c < out.cols; ++c) {
      double sum = 0;
      for (int64_t slot = t * routing.n_used; slot < (t + 1) * routing.n_used; ++slot) {
        sum += static_cast<double>(routing.weight[slot]) * y.row(routing.row[slot])[c];
      }
      out.row(t)[c] = static_cast<float>(sum);
    }
  }
}

void RefBackend::sum_squares(Matrix x, double* sums) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) sums[c] += static_cast<double>(x.row(t)[c]) * x.row(t)[c];
  }
}

void RefBackend::sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) {
  for (int64_t e = 0; e < routing.n_expert; ++e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    sum_squares(x.slice(begin, n), sums + e * x.cols);
    counts[e] += n;
  }
}

void RefBackend::second_moments(Matrix x, Matrix y, float* sums) {
  for (int64_t a = 0; a < x.cols; ++a) {
    for (int64_t b = 0; b < x.cols; ++b) {
      double sum = 0;
      for (int64_t t = 0; t < x.rows; ++t) sum += static_cast<double>(x.row(t)[a]) * y.row(t)[b];
      sums[a * x.cols + b] += static_cast<float>(sum);
    }
  }
}

void RefBackend::second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) {
  for (int64_t e = 0; e < routing.n_expert; ++e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    second_moments(x.slice(begin, n), y.slice(begin, n), sums + e * x.cols * x.cols);
    counts[e] += n;
  }
}

}  // namespace steelyard::compute
