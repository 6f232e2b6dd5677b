#include "compute/cpu/cpu_backend.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <cmath>

#include "base/parallel.h"

namespace steelyard {
namespace {

// Up to this many tokens a weight row is decoded and used on the spot; beyond, decoding pays for a tile and GEMM.
constexpr int64_t kFewTokens = 8;
// Weight rows that one task decodes and multiplies: small enough to balance threads, large enough for GEMM.
constexpr int64_t kTileRows = 128;
// Queries that share one pass over the keys.
constexpr int64_t kQueryTile = 64;

// c[m, n] = a[m, k] b[n, k]^T, row-major with leading dimensions.
void gemm_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                     int64_t ldc) {
  STEELYARD_CHECK(dnnl_sgemm('N', 'T', m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc) == dnnl_success);
}

// c[m, n] = a[m, k] b[k, n].
void gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
          int64_t ldc) {
  STEELYARD_CHECK(dnnl_sgemm('N', 'N', m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc) == dnnl_success);
}

void decode_row(const Weight& weight, int64_t slice, int64_t out, float* values) {
  weight.format->decode(weight.row(slice, out), weight.n_in / weight.format->block_len, values);
}

}  // namespace

void CpuBackend::rms_norm(Matrix x, const float* weight, float eps, Matrix out) {
  parallel_for(x.rows, 16, [&](int64_t t) {
    const float* in = x.row(t);
    const float mean = kernels_.dot(in, in, x.cols) / static_cast<float>(x.cols);
    const float scale = 1.0f / std::sqrt(mean + eps);
    float* to = out.row(t);
    for (int64_t c = 0; c < x.cols; ++c) to[c] = in[c] * scale * weight[c];
  });
}

void CpuBackend::add(Matrix x, Matrix y) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.add_scaled(y.row(t), 1.0f, x.row(t), x.cols); });
}

void CpuBackend::add_row(Matrix x, const float* row) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.add_scaled(row, 1.0f, x.row(t), x.cols); });
}

void CpuBackend::scale(Matrix x, float factor) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.scale(x.row(t), x.cols, factor); });
}

void CpuBackend::softcap(Matrix x, float cap) {
  parallel_for(x.rows, 1, [&](int64_t t) {
    float* row = x.row(t);
    for (int64_t c = 0; c < x.cols; ++c) row[c] = cap * std::tanh(row[c] / cap);
  });
}

void CpuBackend::gated(Activation activation, Matrix gate, Matrix up) {
  const auto kernel = activation == Activation::kSwiglu  ? kernels_.swiglu
                      : activation == Activation::kGeglu ? kernels_.geglu
                                                         : kernels_.clamped_swiglu;
  parallel_for(gate.rows, 8, [&](int64_t t) { kernel(gate.row(t), up.row(t), gate.cols); });
}

void CpuBackend::mul_mat(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
  STEELYARD_CHECK(x.cols == weight.n_in && out.cols == weight.n_out && x.rows == out.rows);
  if (x.rows <= kFewTokens) mul_mat_rows(weight, slice, x, out);
  else mul_mat_tiles(weight, slice, x, out);
}

void CpuBackend::mul_mat_rows(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
#pragma omp parallel
  {
    std::vector<float> row(static_cast<size_t>(weight.n_in));
#pragma omp for schedule(static)
    for (int64_t o = 0; o < weight.n_out; ++o) {
      decode_row(weight, slice, o, row.data());
      for (int64_t t = 0; t < x.rows; ++t) out.row(t)[o] = kernels_.dot(row.data(), x.row(t), weight.n_in);
    }
  }
}

// One task is one tile of weight rows: decoded (unless it is F32 already) and multiplied by the thread that owns it. GEMM runs
// serially inside a task, so the order of every sum, and with it every bit, is the same for any number of threads.
void CpuBackend::mul_mat_tiles(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
  const bool decoded = weight.format->type == Type::F32;
  const int64_t n_tiles = (weight.n_out + kTileRows - 1) / kTileRows;
#pragma omp parallel
  {
    std::vector<float> tile(decoded ? 0 : static_cast<size_t>(kTileRows * weight.n_in));
#pragma omp for schedule(dynamic)
    for (int64_t t = 0; t < n_tiles; ++t) {
      const int64_t begin = t * kTileRows, n = std::min(kTileRows, weight.n_out - begin);
      for (int64_t o = 0; !decoded && o < n; ++o) decode_row(weight, slice, begin + o, tile.data() + o * weight.n_in);
      const float* rows = decoded ? reinterpret_cast<const float*>(weight.row(slice, begin)) : tile.data();
      gemm_transposed(x.rows, n, weight.n_in, x.data, x.stride, rows, weight.n_in, out.data + begin, out.stride);
    }
  }
}

void CpuBackend::rope(Matrix x, const RopeArgs& args) {
  const int64_t half = args.n_dims / 2;
  const int64_t step = args.pairs == RopePairs::kNorm ? 2 : 1;          // from pair i to pair i + 1
  const int64_t partner = args.pairs == RopePairs::kNorm ? 1 : half;  // from a pair's first to its second
  parallel_for(x.rows, 16, [&](int64_t t) {
    const float* cos = args.cos + (args.first_position + t) * half;
    const float* sin = args.sin + (args.first_position + t) * half;
    for (int64_t h = 0; h < args.n_head; ++h) {
      float* v = x.row(t) + h * args.head_stride;
      for (int64_t i = 0; i < half; ++i) {
        const float a = v[i * step], b = v[i * step + partner];
        v[i * step] = a * cos[i] - b * sin[i];
        v[i * step + partner] = a * sin[i] + b * cos[i];
      }
    }
  });
}

// One task is one head and one tile of queries: scores of the tile against all keys that any of them sees, softmax per
// query, then the mix of values. Scores of n^2 never exist at once.
void CpuBackend::attention(const AttentionArgs& args, Matrix out) {
  const int64_t n_tiles = (args.q.rows + kQueryTile - 1) / kQueryTile;
  const int64_t width_max = args.first_position + args.q.rows + 1;
#pragma omp parallel
  {
    std::vector<float> scores(static_cast<size_t>(std::min(kQueryTile, args.q.rows) * width_max));
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < args.n_head * n_tiles; ++task) {
      const int64_t h = task % args.n_head, kv = h * args.n_head_kv / args.n_head;
      const int64_t begin = (n_tiles - 1 - task / args.n_head) * kQueryTile;  // the longest first: better balance
      const int64_t n = std::min(kQueryTile, args.q.rows - begin);
      const int64_t position = args.first_position + begin;
      const int64_t first_key = args.window > 0 ? std::max<int64_t>(0, position + 1 - args.window) : 0;
      const int64_t n_keys = position + n - first_key, width = n_keys + 1;  // one more for the sink
      gemm_transposed(n, n_keys, args.head_k, args.q.row(begin) + h * args.head_k, args.q.stride,
                      args.k.row(first_key) + kv * args.head_k, args.k.stride, scores.data(), width);
      for (int64_t t = 0; t < n; ++t) {
        float* row = scores.data() + t * width;
        const int64_t end = position + t + 1 - first_key;
        const int64_t hidden = args.window > 0 ? std::max<int64_t>(0, end - args.window) : 0;
        const int64_t n_logits = end - hidden + (args.sinks != nullptr);
        if (args.sinks != nullptr) row[end] = args.sinks[h] / args.scale;
        const float sum = kernels_.softmax_numerators(row + hidden, n_logits, args.scale);
        kernels_.scale(row + hidden, end - hidden, 1.0f / sum);
        std::fill(row, row + hidden, 0.0f);
        std::fill(row + end, row + n_keys, 0.0f);
      }
      gemm(n, args.head_v, n_keys, scores.data(), width, args.v.row(first_key) + kv * args.head_v, args.v.stride,
           out.row(begin) + h * args.head_v, out.stride);
    }
  }
}

void CpuBackend::gather(Matrix x, const Routing& routing, Matrix out) {
  parallel_for(routing.n_slots(), 16, [&](int64_t r) { std::copy_n(x.row(routing.token[r]), x.cols, out.row(r)); });
}

void CpuBackend::combine(Matrix y, const Routing& routing, Matrix out) {
  parallel_for(routing.n_tokens, 16, [&](int64_t t) {
    std::fill_n(out.row(t), out.cols, 0.0f);
    for (int64_t slot = t * routing.n_used; slot < (t + 1) * routing.n_used; ++slot) {
      kernels_.add_scaled(y.row(routing.row[slot]), routing.weight[slot], out.row(t), out.cols);
    }
  });
}

// Columns are split over threads, so that each sum has one owner and the same order of addition for any thread count.
void CpuBackend::sum_squares(Matrix x, double* sums) {
  constexpr int64_t kColumns = 256;
  parallel_for((x.cols + kColumns - 1) / kColumns, 1, [&](int64_t part) {
    const int64_t begin = part * kColumns, n = std::min(kColumns, x.cols - begin);
    for (int64_t t = 0; t < x.rows; ++t) kernels_.add_squares(x.row(t) + begin, sums + begin, n);
  });
}

void CpuBackend::sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) {
  parallel_for(routing.n_expert, 1, [&](int64_t e) {
    const int64_t begin = routing.row_begin[e], end = routing.row_begin[e + 1];
    for (int64_t r = begin; r < end; ++r) kernels_.add_squares(x.row(r), sums + e * x.cols, x.cols);
    counts[e] += end - begin;
  });
}

}  // namespace steelyard
