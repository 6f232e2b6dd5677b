// Backward passes of the reference: each is the derivative of its operation's formula, in double.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "compute/ref/ref_backend.h"

namespace steelyard::compute {
namespace {

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

// Derivatives of activation(g, u) with respect to g and u.
struct Slopes {
  double gate, up;
};

Slopes slopes(const Activation& activation, double g, double u) {
  const double limit = activation.limit, up_limit = activation.up_limit;
  const double s = sigmoid(g), silu = g * s, dsilu = s * (1.0 + g * (1.0 - s));
  const bool up_free = limit == 0 || std::abs(u) < limit;  // a clamped value has no gradient
  const double up = limit > 0 ? std::clamp(u, -limit, limit) : u;
  switch (activation.kind) {
    case Activation::kSwiglu: {
      if (limit == 0 || g < limit) return {up * dsilu, up_free ? silu : 0.0};
      return {0.0, up_free ? limit * sigmoid(limit) : 0.0};
    }
    case Activation::kCappedSwiglu:
      return {silu < limit ? up * dsilu : 0.0, up_free ? std::min(silu, limit) : 0.0};
    case Activation::kSitu: {
      const double t = std::tanh(g / limit), v = up_limit > 0 ? std::tanh(u / up_limit) : 0.0;
      const double value = up_limit > 0 ? up_limit * v : u;
      return {value * s * (1.0 - t * t + limit * t * (1.0 - s)), limit * t * s * (1.0 - v * v)};
    }
    case Activation::kReluSquared:
      return {2.0 * std::max(g, 0.0), 0.0};
    case Activation::kProduct:
      return {u, g};
    case Activation::kGeglu: {
      const double a = std::sqrt(2.0 / std::numbers::pi), t = std::tanh(a * (g + 0.044715 * g * g * g));
      return {u * 0.5 * (1.0 + t + g * (1.0 - t * t) * a * (1.0 + 3 * 0.044715 * g * g)), 0.5 * g * (1.0 + t)};
    }
    case Activation::kClampedSwiglu: {
      const double z = std::min(g, 7.0), share = sigmoid(1.702 * z), v = std::clamp(u, -7.0, 7.0) + 1.0;
      return {g < 7.0 ? v * share * (1.0 + 1.702 * z * (1.0 - share)) : 0.0, u > -7.0 && u < 7.0 ? z * share : 0.0};
    }
  }
  STEELYARD_CHECK(false);
}

float add_product(float to, double a, double b) { return static_cast<float>(to + a * b); }

}  // namespace

void RefBackend::multiply_transposed(std::span<const Product> products) {
  for (const Product& product : products) {
    const Weight& weight = *product.weight;
    const Matrix dx = product.x, dz = product.out;
    STEELYARD_CHECK(dx.cols == weight.n_in && dz.cols == weight.n_out && dx.rows == dz.rows);
    std::vector<float> rows(static_cast<size_t>(weight.n_in * weight.n_out));
    weight.format->decode(weight.row(product.slice, 0), std::ssize(rows) / weight.format->block_len, rows.data());
    for (int64_t t = 0; t < dx.rows; ++t) {
      for (int64_t i = 0; i < weight.n_in; ++i) {
        double sum = 0;
        for (int64_t o = 0; o < weight.n_out; ++o)
          sum += static_cast<double>(rows[static_cast<size_t>(o * weight.n_in + i)]) * dz.row(t)[o];
        dx.row(t)[i] = static_cast<float>(dx.row(t)[i] + sum);
      }
    }
  }
}

void RefBackend::add_scale_gradients(std::span<const ScaleGradient> gradients) {
  for (const auto& [product, sums] : gradients) {
    const Weight& weight = *product.weight;
    const formats::Format& format = *weight.format;
    std::vector<std::byte> unit(static_cast<size_t>(format.block_bytes));
    std::vector<float> values(static_cast<size_t>(format.block_len));
    float* sum = sums + product.slice * weight.n_out * weight.n_in / format.block_len * format.n_scales;
    for (int64_t o = 0; o < weight.n_out; ++o) {
      for (int64_t i = 0; i < weight.n_in; i += format.block_len) {
        for (int k = 0; k < format.n_scales; ++k, ++sum) {
          std::copy_n(weight.row(product.slice, o) + i / format.block_len * format.block_bytes, unit.size(),
                      unit.begin());
          float scales[formats::kMaxStoredScales] = {};
          scales[k] = 1;
          format.write_scales(scales, unit.data());
          format.decode(unit.data(), 1, values.data());
          double total = 0;
          for (int64_t t = 0; t < product.x.rows; ++t) {
            double dot = 0;
            for (int j = 0; j < format.block_len; ++j)
              dot += static_cast<double>(values[static_cast<size_t>(j)]) * product.x.row(t)[i + j];
            total += dot * product.out.row(t)[o];
          }
          *sum = static_cast<float>(*sum + total);
        }
      }
    }
  }
}

// y = x r w with r = 1 / sqrt(mean(x^2) + eps): dx = r (w dy - x r^2 mean(w dy x)).
void RefBackend::rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight) {
  const auto n = static_cast<double>(x.cols);
  std::vector<double> sums(static_cast<size_t>(x.cols));
  for (int64_t t = 0; t < x.rows; ++t) {
    double squares = 0, dot = 0;
    for (int64_t c = 0; c < x.cols; ++c) {
      squares += static_cast<double>(x.row(t)[c]) * x.row(t)[c];
      dot += static_cast<double>(dout.row(t)[c]) * (weight != nullptr ? weight[c] : 1.0f) * x.row(t)[c];
    }
    const double scale = 1.0 / std::sqrt(squares / n + eps), pull = scale * scale * scale * dot / n;
    for (int64_t c = 0; c < x.cols; ++c) {
      const double d = dout.row(t)[c];
      sums[static_cast<size_t>(c)] += d * x.row(t)[c] * scale;
      dx.row(t)[c] =
          static_cast<float>(dx.row(t)[c] + d * (weight != nullptr ? weight[c] : 1.0f) * scale - x.row(t)[c] * pull);
    }
  }
  for (int64_t c = 0; dweight != nullptr && c < x.cols; ++c)
    dweight[c] = static_cast<float>(dweight[c] + sums[static_cast<size_t>(c)]);
}

void RefBackend::softcap_backward(Matrix out, float cap, Matrix d) {
  for (int64_t t = 0; t < d.rows; ++t) {
    for (int64_t c = 0; c < d.cols; ++c) {
      const double tanh = static_cast<double>(out.row(t)[c]) / cap;
      d.row(t)[c] = static_cast<float>(d.row(t)[c] * (1.0 - tanh * tanh));
    }
  }
}

void RefBackend::gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup) {
  for (int64_t t = 0; t < gate.rows; ++t) {
    for (int64_t c = 0; c < gate.cols; ++c) {
      const bool alone = activation.kind == Activation::kReluSquared;  // there need be no `up`
      const Slopes slope = slopes(activation, gate.row(t)[c], alone ? 0.0f : up.row(t)[c]);
      const double dout = d.row(t)[c];
      if (!alone) dup.row(t)[c] = add_product(dup.row(t)[c], dout, slope.up);
      d.row(t)[c] = static_cast<float>(dout * slope.gate);
    }
  }
}

void RefBackend::attentions_backward(std::span<const AttentionGradient> sequences) {
  for (const AttentionGradient& at : sequences) {
    const AttentionArgs& args = at.args;
    STEELYARD_CHECK(args.k.format->type == formats::Type::F32 && args.v.format->type == formats::Type::F32);
    const auto floats = [](const TypedRows& rows, int64_t r) { return reinterpret_cast<const float*>(rows.row(r)); };
    for (int64_t t = 0; t < args.q.rows; ++t) {
      const int64_t n_keys = args.first_position + t + 1;
      const int64_t begin = args.window > 0 ? std::max<int64_t>(0, n_keys - args.window) : 0;
      std::vector<double> p(static_cast<size_t>(n_keys));
      for (int64_t h = 0; h < args.n_head; ++h) {
        const int64_t kv = h * args.n_head_kv / args.n_head, k_at = kv * args.head_k, v_at = kv * args.head_v;
        const float* q = args.q.row(t) + h * args.head_k;
        const float* dout = at.dout.row(t) + h * args.head_v;
        float* dq = at.dq.row(t) + h * args.head_k;
        for (int64_t s = begin; s < n_keys; ++s) {
          p[s] = 0;
          for (int64_t i = 0; i < args.head_k; ++i) p[s] += static_cast<double>(q[i]) * floats(args.k, s)[k_at + i];
          p[s] *= args.scale;
          if (args.softcap > 0) p[s] = args.softcap * std::tanh(p[s] / args.softcap);
        }
        const std::vector<double> scores = p;
        double max = *std::max_element(p.begin() + begin, p.end());
        if (args.sinks != nullptr) max = std::max<double>(max, args.sinks[h]);
        const double sink = args.sinks != nullptr ? std::exp(args.sinks[h] - max) : 0;
        double sum = sink, mean = 0;  // of dp under p; the sink's value is 0
        for (int64_t s = begin; s < n_keys; ++s) sum += p[s] = std::exp(p[s] - max);
        std::vector<double> dp(static_cast<size_t>(n_keys));
        for (int64_t s = begin; s < n_keys; ++s) {
          p[s] /= sum;
          for (int64_t i = 0; i < args.head_v; ++i) dp[s] += static_cast<double>(dout[i]) * floats(args.v, s)[v_at + i];
          mean += p[s] * dp[s];
        }
        if (at.dsinks != nullptr) at.dsinks[h] = static_cast<float>(at.dsinks[h] - sink / sum * mean);
        for (int64_t s = begin; s < n_keys; ++s) {
          const double tanh = args.softcap > 0 ? scores[s] / args.softcap : 0.0;
          const double dscore = p[s] * (dp[s] - mean) * (1.0 - tanh * tanh) * args.scale;
          float* dk = at.dk.row(s) + k_at;
          float* dv = at.dv.row(s) + v_at;
          for (int64_t i = 0; i < args.head_k; ++i) {
            dq[i] = add_product(dq[i], dscore, floats(args.k, s)[k_at + i]);
            dk[i] = add_product(dk[i], dscore, q[i]);
          }
          for (int64_t i = 0; i < args.head_v; ++i) dv[i] = add_product(dv[i], p[s], dout[i]);
        }
      }
    }
  }
}

void RefBackend::gather_backward(Matrix drows, const Routing& routing, Matrix dx) {
  for (int64_t slot = 0; slot < routing.n_slots(); ++slot) {
    const int64_t t = slot / routing.n_used;
    for (int64_t c = 0; c < dx.cols; ++c) dx.row(t)[c] += drows.row(routing.row[slot])[c];
  }
}

void RefBackend::combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight) {
  for (int64_t slot = 0; slot < routing.n_slots(); ++slot) {
    const int64_t t = slot / routing.n_used, r = routing.row[slot];
    double dot = 0;
    for (int64_t c = 0; c < y.cols; ++c) {
      dot += static_cast<double>(dout.row(t)[c]) * y.row(r)[c];
      dy.row(r)[c] = add_product(dy.row(r)[c], routing.weight[slot], dout.row(t)[c]);
    }
    dweight[slot] = static_cast<float>(dot);
  }
}

void RefBackend::sum_rows(Matrix x, float* sums) {
  for (int64_t c = 0; c < x.cols; ++c) {
    double sum = 0;
    for (int64_t t = 0; t < x.rows; ++t) sum += x.row(t)[c];
    sums[c] = static_cast<float>(sums[c] + sum);
  }
}

void RefBackend::row_sum_squares(Matrix x, float* sums) {
  for (int64_t t = 0; t < x.rows; ++t) {
    double sum = 0;
    for (int64_t c = 0; c < x.cols; ++c) sum += static_cast<double>(x.row(t)[c]) * x.row(t)[c];
    sums[t] = static_cast<float>(sum);
  }
}

void RefBackend::divergence(Matrix logits, const TargetRows& target, float* loss) {
  for (int64_t t = 0; t < logits.rows; ++t) {
    float* x = logits.row(t);
    const double max = *std::max_element(x, x + logits.cols);
    double sum = 0;
    for (int64_t i = 0; i < logits.cols; ++i) sum += std::exp(x[i] - max);
    const double log_sum = max + std::log(sum);
    double divergence = 0, rest_p = 1, rest_q = 1;
    std::vector<std::pair<int32_t, double>> named;  // tokens and their gradients
    for (int64_t j = t * target.n; j < (t + 1) * target.n; ++j) {
      const int32_t i = target.tokens[j];
      if (i < 0) continue;
      const double p = target.probs[j], log_q = x[i] - log_sum, q = std::exp(log_q);
      if (p > 0) divergence += p * (std::log(p) - log_q);
      rest_p -= p;
      rest_q -= q;
      named.emplace_back(i, q - p);
    }
    rest_q = std::max(rest_q, kLeastRest);
    if (rest_p < kLeastRest) rest_p = 0;
    if (rest_p > 0) divergence += rest_p * std::log(rest_p / rest_q);
    const double share = 1 - rest_p / rest_q;
    loss[t] = static_cast<float>(divergence);
    for (int64_t i = 0; i < logits.cols; ++i) x[i] = static_cast<float>(std::exp(x[i] - log_sum) * share);
    for (const auto& [i, d] : named) x[i] = static_cast<float>(d);
  }
}

void RefBackend::adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gradients[i];
    m[i] = static_cast<float>(args.beta1 * m[i] + (1.0 - args.beta1) * g);
    v[i] = static_cast<float>(args.beta2 * v[i] + (1.0 - args.beta2) * g * g);
    if (v[i] == 0) continue;
    const double size = args.size > 0 ? args.size : std::abs(values[i]);
    const double direction = (m[i] / args.correction1) / std::sqrt(static_cast<double>(v[i]) / args.correction2);
    values[i] = static_cast<float>(values[i] - args.rate * size * direction);
  }
}

void RefBackend::apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) {
      const int64_t of = gate.cols == 1 ? 0 : c;
      const double g = gate.row(t)[of], s = sigmoid(g), dout = d.row(t)[c];
      const double slope = kind == Gate::kSigmoid ? s * (1.0 - s) : s;
      dgate.row(t)[of] = add_product(dgate.row(t)[of], dout, x.row(t)[c] * slope);
      d.row(t)[c] = static_cast<float>(
          dout * (kind == Gate::kSigmoid ? s : std::max(g, 0.0) + std::log1p(std::exp(-std::abs(g)))));
    }
  }
}

}  // namespace steelyard::compute
