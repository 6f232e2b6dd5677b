// Attention's backward pass. Probabilities are computed again from queries and keys (Dao et al. 2022, FlashAttention,
// algorithm 4), for some rows and all of their keys at a time.
//
// A task is one head of one sequence. Heads that share keys and values sum their gradients separately; these are added
// in the order of heads, so results do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

Matrix floats(const TypedRows& rows) {
  STEELYARD_CHECK(rows.format->type == formats::Type::F32);
  return {reinterpret_cast<float*>(rows.data), rows.rows, rows.cols, rows.stride / static_cast<int64_t>(sizeof(float))};
}

}  // namespace

class CpuBackend::AttentionBackwardTask {
 public:
  /// dk [n_keys, head_k], dv [n_keys, head_v]: this head's share, zeros at first.
  AttentionBackwardTask(const CpuBackend& backend, const AttentionGradient& at, int64_t head, float* dk, float* dv)
      : gemm_(backend.gemm_),
        kernels_(backend.kernels_),
        at_(at),
        args_(at.args),
        head_(head),
        n_keys_(args_.first_position + args_.q.rows),
        k_width_(cpu::round_up(args_.head_k, gemm_.panel)),
        v_width_(cpu::round_up(args_.head_v, gemm_.panel)),
        keys_(head_columns(floats(args_.k), args_.head_k)),
        values_(head_columns(floats(args_.v), args_.head_v)),
        dk_(dk),
        dv_(dv) {}

  /// The gradient of the head's sink.
  double run() {
    const int64_t n_padded = cpu::round_up(n_keys_, gemm_.panel);
    key_panels_.resize(static_cast<size_t>(n_padded * args_.head_k));
    value_panels_.resize(static_cast<size_t>(n_padded * args_.head_v));
    for (int64_t s = 0; s < n_keys_; s += gemm_.panel) {
      const int64_t n = std::min<int64_t>(gemm_.panel, n_keys_ - s);
      gemm_.pack(keys_.row(s), keys_.stride, n, args_.head_k, key_panels_.data() + s * args_.head_k);
      gemm_.pack(values_.row(s), values_.stride, n, args_.head_v, value_panels_.data() + s * args_.head_v);
    }
    wide_keys_ = widened(keys_, n_keys_, k_width_);
    scores_.resize(static_cast<size_t>(cpu::kRowsAtOnce * n_padded));
    dscores_.resize(scores_.size());
    transposed_.resize(scores_.size());
    capped_.resize(args_.softcap > 0 ? static_cast<size_t>(n_padded) : 0);
    double dsink = 0;
    for (int64_t first = 0; first < args_.q.rows; first += cpu::kRowsAtOnce)
      dsink += pass(first, std::min(cpu::kRowsAtOnce, args_.q.rows - first), n_padded);
    return dsink;
  }

 private:
  Matrix head_columns(Matrix all, int64_t width) const {
    return all.columns(head_ * args_.n_head_kv / args_.n_head * width, width);
  }

  // Rows side by side in full panels: [n, width], zeros beside them.
  static std::vector<float> widened(Matrix rows, int64_t n, int64_t width) {
    std::vector<float> out(static_cast<size_t>(n * width));
    for (int64_t r = 0; r < n; ++r) std::copy_n(rows.row(r), rows.cols, out.begin() + r * width);
    return out;
  }

  // out [n, n_keys] = rows times all keys or values up to n_keys.
  void multiply_panels(Matrix rows, const std::vector<float>& panels, int64_t n_keys, float* out,
                       int64_t stride) const {
    for (int64_t s = 0; s < n_keys; s += gemm_.panel) {
      gemm_.multiply(rows.rows, std::min<int64_t>(gemm_.panel, n_keys - s), rows.cols, rows.data, rows.stride,
                     panels.data() + s * rows.cols, gemm_.panel, out + s, stride, false);
    }
  }

  // out [m, n] += a [m, k] b, b: [k, width] wide rows.
  void add_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t width,
                   float* out, int64_t ldc) const {
    for (int64_t c = 0; c < n; c += gemm_.panel)
      gemm_.multiply(m, std::min<int64_t>(gemm_.panel, n - c), k, a, lda, b + c, width, out + c, ldc, true);
  }

  // transposed_ [n_keys, n] = columns [begin, begin + n_keys) of rows.
  void transpose(const float* rows, int64_t stride, int64_t n, int64_t begin, int64_t n_keys) {
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t s = 0; s < n_keys; ++s) transposed_[static_cast<size_t>(s * n + r)] = rows[r * stride + begin + s];
    }
  }

  // Rows [first, first + n).
  double pass(int64_t first, int64_t n, int64_t stride) {
    const auto rows = [&](Matrix all, int64_t width) { return all.columns(head_ * width, width).slice(first, n); };
    const Matrix q = rows(args_.q, args_.head_k), dq = rows(at_.dq, args_.head_k);
    const Matrix out = rows(at_.out, args_.head_v), dout = rows(at_.dout, args_.head_v);
    const int64_t position = args_.first_position + first, end = position + n;
    const auto first_key = [&](int64_t r) {
      return args_.window > 0 ? std::max<int64_t>(0, position + r + 1 - args_.window) : 0;
    };
    const int64_t begin = first_key(0) / gemm_.panel * gemm_.panel, n_seen = end - begin;

    multiply_panels(q, key_panels_, end, scores_.data(), stride);
    multiply_panels(dout, value_panels_, end, dscores_.data(), stride);
    double dsink = 0;
    for (int64_t r = 0; r < n; ++r) {
      float* p = scores_.data() + r * stride;
      float* dp = dscores_.data() + r * stride;
      const float mean = kernels_.dot(dout.row(r), out.row(r), args_.head_v);  // of dp under p
      dsink -= static_cast<double>(normalize(p, first_key(r), position + r + 1, begin, end) * mean);
      for (int64_t s = begin; s < end; ++s) dp[s] = p[s] * (dp[s] - mean) * args_.scale;
      for (int64_t s = begin; args_.softcap > 0 && s < end; ++s) {
        const float tanh = capped_[static_cast<size_t>(s)] / args_.softcap;
        dp[s] *= 1.0f - tanh * tanh;
      }
    }
    add_product(n, args_.head_k, n_seen, dscores_.data() + begin, stride, wide_keys_.data() + begin * k_width_,
                k_width_, dq.data, dq.stride);
    transpose(dscores_.data(), stride, n, begin, n_seen);
    add_product(n_seen, args_.head_k, n, transposed_.data(), n, widened(q, n, k_width_).data(), k_width_,
                dk_ + begin * args_.head_k, args_.head_k);
    transpose(scores_.data(), stride, n, begin, n_seen);
    add_product(n_seen, args_.head_v, n, transposed_.data(), n, widened(dout, n, v_width_).data(), v_width_,
                dv_ + begin * args_.head_v, args_.head_v);
    return dsink;
  }

  // Products of queries and keys become probabilities; zero where the query does not look, between begin and end.
  // Returns the probability of the sink. With a cap, capped_ has the scores.
  float normalize(float* p, int64_t from, int64_t to, int64_t begin, int64_t end) {
    std::fill(p + begin, p + from, 0.0f);
    std::fill(p + to, p + end, 0.0f);
    kernels_.scale(p + from, to - from, args_.scale);
    if (args_.softcap > 0) {
      kernels_.softcap(p + from, to - from, args_.softcap);
      std::copy(p + begin, p + end, capped_.begin() + begin);
    }
    float largest = kernels_.largest(p + from, to - from), sink = 0;
    if (args_.sinks != nullptr) {
      largest = std::max(largest, args_.sinks[head_]);
      sink = std::exp(args_.sinks[head_] - largest);
    }
    const float sum = kernels_.exponentials(p + from, to - from, largest) + sink;
    kernels_.scale(p + from, to - from, 1.0f / sum);
    return sink / sum;
  }

  const cpu::Gemm& gemm_;
  const cpu::Kernels& kernels_;
  const AttentionGradient& at_;
  const AttentionArgs& args_;
  const int64_t head_, n_keys_, k_width_, v_width_;
  const Matrix keys_, values_;
  float* const dk_;
  float* const dv_;
  std::vector<float> key_panels_, value_panels_;  // every panel [width of a head, panel]
  std::vector<float> wide_keys_;                  // [n_keys, k_width]
  std::vector<float> scores_, dscores_;           // [kRowsAtOnce, n_keys in whole panels]
  std::vector<float> transposed_;
  std::vector<float> capped_;  // [n_keys], of one row
};

void CpuBackend::attentions_backward(std::span<const AttentionGradient> sequences) {
  for (const AttentionGradient& at : sequences) {
    const AttentionArgs& args = at.args;
    const int64_t n_keys = args.first_position + args.q.rows, n_group = args.n_head / args.n_head_kv;
    const int64_t k_size = n_keys * args.head_k, v_size = n_keys * args.head_v;
    std::vector<float> dk(static_cast<size_t>(args.n_head * k_size)), dv(static_cast<size_t>(args.n_head * v_size));
    std::vector<double> dsinks(static_cast<size_t>(args.n_head));
    parallel_for(args.n_head, 1, [&](int64_t head) {
      AttentionBackwardTask task(*this, at, head, dk.data() + head * k_size, dv.data() + head * v_size);
      dsinks[static_cast<size_t>(head)] = task.run();
    });
    const auto add_heads = [&](const std::vector<float>& heads, int64_t width, Matrix to) {
      parallel_for(n_keys, 16, [&](int64_t s) {
        for (int64_t head = 0; head < args.n_head; ++head) {
          kernels_.add_scaled(heads.data() + (head * n_keys + s) * width, 1.0f, to.row(s) + head / n_group * width,
                              width);
        }
      });
    };
    add_heads(dk, args.head_k, at.dk);
    add_heads(dv, args.head_v, at.dv);
    for (int64_t head = 0; at.dsinks != nullptr && head < args.n_head; ++head)
      at.dsinks[head] += static_cast<float>(dsinks[static_cast<size_t>(head)]);
  }
}

}  // namespace steelyard::compute
