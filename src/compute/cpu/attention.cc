// Attention over tiles of keys with a running softmax (Dao et al., FlashAttention, algorithm 1). Per query it keeps the
// largest score so far, the sum of exponentials and the weighted sum of values; all are rescaled when a larger score
// appears. Memory is one tile of scores per thread, however long the context.
//
// Where queries are told what they see, tiles that none of them sees are passed over.
//
// A row is one head of one query. A task is one key/value head with some of the rows that it serves, so that keys and
// values, of any type, are decoded once for all of them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();
constexpr int64_t kKeys = 64;      // of a tile
constexpr int64_t kRowsAlone = 4;  // of a task for a single query: there is little to share, and threads to feed

// Keys [begin, end) that the query at `position` sees.
struct KeyRange {
  int64_t begin, end;
};
KeyRange visible_keys(const AttentionArgs& args, int64_t position) {
  if (args.visible.data != nullptr) return {0, args.visible.cols};  // some of them
  return {args.window > 0 ? std::max<int64_t>(0, position + 1 - args.window) : 0, position + 1};
}

}  // namespace

// A task: rows [first, first + n) of those that key/value head `kv` serves, token by token, head by head.
class CpuBackend::AttentionTask {
 public:
  AttentionTask(const CpuBackend& backend, const AttentionArgs& args, Matrix out, int64_t kv, int64_t first, int64_t n,
                Workspace& workspace)
      : gemm_(backend.gemm_),
        kernels_(backend.kernels_),
        args_(args),
        out_(out),
        kv_(kv),
        first_(first),
        n_(n),
        n_group_(args.n_head / args.n_head_kv),
        decode_k_(args.k.format->decode),
        decode_v_(args.v.format->decode),
        value_width_(cpu::round_up(args.head_v, gemm_.panel)),
        queries_(workspace.array<float>(0, n * args.head_k)),
        keys_(workspace.array<float>(1, kKeys * args.head_k)),
        panels_(workspace.array<float>(2, kKeys * args.head_k)),
        values_(workspace.array<float>(3, kKeys * value_width_)),
        scores_(workspace.array<float>(4, n * kKeys)),
        mix_(workspace.array<float>(5, n * args.head_v)),
        largest_(workspace.array<float>(6, n)),
        sums_(workspace.array<float>(7, n)) {}

  void run() {
    start();
    const KeyRange first = visible_keys(args_, position(0)), last = visible_keys(args_, position(n_ - 1));
    for (int64_t key = first.begin; key < last.end; key += kKeys) {
      const int64_t n_keys = std::min(kKeys, last.end - key);
      if (chosen() && !any_sees(key, n_keys)) continue;
      score(key, n_keys);
      for (int64_t r = 0; r < n_; ++r) exponentiate(r, key, n_keys);
      mix(key, n_keys);
    }
    for (int64_t r = 0; r < n_; ++r) {
      float* to = out_.row(token(r)) + head(r) * args_.head_v;
      const float sum = sums_[r] == 0 ? 1.0f : sums_[r];  // a query that sees nothing
      for (int64_t i = 0; i < args_.head_v; ++i) to[i] = mix_[r * args_.head_v + i] / sum;
    }
  }

 private:
  int64_t token(int64_t r) const { return (first_ + r) / n_group_; }
  int64_t head(int64_t r) const { return kv_ * n_group_ + (first_ + r) % n_group_; }
  int64_t position(int64_t r) const { return args_.first_position + token(r); }
  bool chosen() const { return args_.visible.data != nullptr; }
  bool any_sees(int64_t key, int64_t n_keys) const {
    for (int64_t t = token(0); t <= token(n_ - 1); ++t) {
      const float* const seen = args_.visible.row(t) + key;
      if (std::any_of(seen, seen + n_keys, [](float value) { return value > 0; })) return true;
    }
    return false;
  }

  void start() {
    for (int64_t r = 0; r < n_; ++r) {
      const float* q = args_.q.row(token(r)) + head(r) * args_.head_k;
      for (int64_t i = 0; i < args_.head_k; ++i) queries_[r * args_.head_k + i] = q[i] * args_.scale;
      // A sink is a score that precedes all keys.
      largest_[r] = args_.sinks != nullptr ? args_.sinks[head(r)] : kUnseen;
      sums_[r] = args_.sinks != nullptr ? 1.0f : 0.0f;
    }
    std::fill_n(mix_, n_ * args_.head_v, 0.0f);
  }

  // scores_ [n, kKeys] of the tile. For a single query key by key, else in panels.
  void score(int64_t key, int64_t n_keys) {
    const int64_t width = args_.head_k;
    const float* keys = keys_;
    int64_t stride = width;
    if (args_.k.format->type == formats::Type::F32) {
      keys = reinterpret_cast<const float*>(args_.k.at(key, kv_ * width));
      stride = args_.k.stride / static_cast<int64_t>(sizeof(float));
    } else {
      for (int64_t s = 0; s < n_keys; ++s) {
        decode_k_(args_.k.at(key + s, kv_ * width), width / args_.k.format->block_len, keys_ + s * width);
      }
    }
    if (args_.q.rows == 1) {
      for (int64_t s = 0; s < n_keys; ++s) {
        for (int64_t r = 0; r < n_; ++r)
          scores_[r * kKeys + s] = gemm_.dot(keys + s * stride, queries_ + r * width, width);
      }
      return;
    }
    for (int64_t s = 0; s < n_keys; s += gemm_.panel) {
      const int64_t n = std::min<int64_t>(gemm_.panel, n_keys - s);
      gemm_.pack(keys + s * stride, stride, n, width, panels_);
      gemm_.multiply(n_, n, width, queries_, width, panels_, gemm_.panel, scores_ + s, kKeys, false);
    }
  }

  // Scores of row r become numerators; zero where the query does not look.
  void exponentiate(int64_t r, int64_t key, int64_t n_keys) {
    const auto [begin, end] = visible_keys(args_, position(r));
    float* scores = scores_ + r * kKeys;
    const int64_t from = std::clamp<int64_t>(begin - key, 0, n_keys), to = std::clamp<int64_t>(end - key, from, n_keys);
    std::fill(scores, scores + from, 0.0f);
    std::fill(scores + to, scores + n_keys, 0.0f);
    if (from == to) return;
    if (args_.softcap > 0) kernels_.softcap(scores + from, to - from, args_.softcap);
    for (int64_t s = 0; chosen() && s < n_keys; ++s) {
      if (!(args_.visible.row(token(r))[key + s] > 0)) scores[s] = kUnseen;  // whose exponential is 0
    }
    const float largest = std::max(largest_[r], kernels_.largest(scores + from, to - from));
    if (largest == kUnseen) {
      std::fill_n(scores, n_keys, 0.0f);
      return;
    }
    if (largest > largest_[r]) {
      const float factor = std::exp(largest_[r] - largest);
      sums_[r] *= factor;
      kernels_.scale(mix_ + r * args_.head_v, args_.head_v, factor);
      largest_[r] = largest;
    }
    sums_[r] += kernels_.exponentials(scores + from, to - from, largest);
  }

  // mix_ += numerators times values of the tile.
  void mix(int64_t key, int64_t n_keys) {
    const int64_t width = args_.head_v;
    const float* values = values_;
    int64_t stride = value_width_;
    // Panels are read in full width, so values of a narrower head are copied to memory of our own.
    if (args_.v.format->type == formats::Type::F32 && width == value_width_) {
      values = reinterpret_cast<const float*>(args_.v.at(key, kv_ * width));
      stride = args_.v.stride / static_cast<int64_t>(sizeof(float));
    } else {
      for (int64_t s = 0; s < n_keys; ++s) {
        decode_v_(args_.v.at(key + s, kv_ * width), width / args_.v.format->block_len, values_ + s * value_width_);
      }
    }
    for (int64_t i = 0; i < width; i += gemm_.panel) {
      gemm_.multiply(n_, std::min<int64_t>(gemm_.panel, width - i), n_keys, scores_, kKeys, values + i, stride,
                     mix_ + i, width, true);
    }
  }

  const cpu::Gemm& gemm_;
  const cpu::Kernels& kernels_;
  const AttentionArgs& args_;
  const Matrix out_;
  const int64_t kv_, first_, n_, n_group_;
  void (*const decode_k_)(const std::byte*, int64_t, float*);
  void (*const decode_v_)(const std::byte*, int64_t, float*);
  const int64_t value_width_;
  float* queries_;  // [n, head_k], scaled
  float* keys_;     // [kKeys, head_k]
  float* panels_;   // one panel of keys
  float* values_;   // [kKeys, value_width]
  float* scores_;   // [n, kKeys]
  float* mix_;      // [n, head_v]
  float* largest_;  // [n] score so far
  float* sums_;     // [n] of e^(score - largest)
};

void CpuBackend::attentions(std::span<const Attention> sequences) {
  struct Part {
    const Attention* of;
    int64_t kv, first, n;
    int64_t n_keys;  // that its last row sees
  };
  std::vector<Part> parts;
  int64_t n_products = 0;
  for (const Attention& sequence : sequences) {
    const AttentionArgs& args = sequence.args;
    const int64_t n_group = args.n_head / args.n_head_kv, n_rows = args.q.rows * n_group;
    const int64_t rows = args.q.rows == 1 ? kRowsAlone : cpu::kRowsAtOnce;
    n_products += args.q.rows * args.n_head * args.head_k * visible_keys(args, args.first_position + args.q.rows).end;
    for (int64_t first = 0; first < n_rows; first += rows) {
      const int64_t n = std::min(rows, n_rows - first);
      const int64_t n_keys = visible_keys(args, args.first_position + (first + n - 1) / n_group).end;
      for (int64_t kv = 0; kv < args.n_head_kv; ++kv) parts.push_back({&sequence, kv, first, n, n_keys});
    }
  }
  // The longest first: better balance.
  std::ranges::stable_sort(parts, std::greater(), &Part::n_keys);
  std::vector<Workspace>& all_workspaces = workspaces();
#pragma omp parallel for schedule(dynamic) if (n_products >= cpu::kSerialProducts)
  for (const Part& part : parts) {
    AttentionTask(*this, part.of->args, part.of->out, part.kv, part.first, part.n,
                  all_workspaces[static_cast<size_t>(omp_get_thread_num())])
        .run();
  }
}

}  // namespace steelyard::compute
