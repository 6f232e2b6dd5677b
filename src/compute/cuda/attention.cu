// Attention over tiles of keys with a running softmax (Dao et al., FlashAttention, algorithm 1; the split over keys is
// that of Flash-Decoding). Per query it keeps the largest score so far, the sum of exponentials and the weighted sum of
// values.
//
// A row is one head of one query. A block takes 16 rows of one key/value head, four per warp, and goes over its keys 32
// at a time, one per lane. Heads of any width are loaded 64 columns at a time and decoded to F32, so shared memory does
// not grow with the head. With few rows, several blocks share the keys of one row, and a second kernel joins their
// results.
#include "compute/cuda/cache.cuh"
#include "compute/cuda/operations.h"

namespace steelyard::compute::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int kRowsOfWarp = 4, kRows = kWarps * kRowsOfWarp;
constexpr int kKeys = kWarp;
constexpr int kColumns = 64;  // loaded at a time
constexpr int kGroups = kColumns / formats::kGroupLen;
static_assert(kKeys * kGroups == kThreads, "a thread decodes one group");
constexpr int64_t kLeastKeysOfSplit = 128;

struct Launch {
  Matrix q, out, visible;
  CachedRows k, v;
  int64_t n_head, n_head_kv, head_k, head_v, first_position, window;
  const float* sinks;
  double scale, softcap;
  float* partial;  // [n_splits, rows of all heads, head_v + 2]: mix, largest score, sum; or null
  int64_t n_splits, keys_of_split;

  __host__ __device__ int64_t n_group() const { return n_head / n_head_kv; }
  __host__ __device__ int64_t n_rows() const { return q.rows * n_group(); }  // of a key/value head
  __device__ bool chosen() const { return visible.data != nullptr; }
  // Where queries are told what they see: whether that of row r sees the key.
  __device__ bool sees(int64_t r, int64_t key) const { return visible.data[r / n_group() * visible.stride + key] > 0; }
};

// 64 columns of 32 keys, a group of 16 per thread; zeros beyond the end.
__device__ void load_tile(const CachedRows& rows, int64_t head, int64_t width, int64_t column, int key, int end,
                          float (*tile)[kColumns + 1]) {
  const int row = static_cast<int>(threadIdx.x) / kGroups, group = static_cast<int>(threadIdx.x) % kGroups;
  float values[formats::kGroupLen] = {};
  if (key + row < end) {
    const std::byte* at = rows.head(key + row, head);
    for_type(CacheTypes(), static_cast<formats::Type>(rows.type),
             [&]<class F>() { decode_group<F>(at, column / formats::kGroupLen + group, width, values); });
  }
  CUDA_UNROLL
  for (int i = 0; i < formats::kGroupLen; ++i) tile[row][group * formats::kGroupLen + i] = values[i];
}

// One row's running softmax; the weighted sum is spread over the lanes of its warp.
template <int kMix>
struct Row {
  int begin, end;  // keys that it sees; narrow, because registers are few
  float largest, sum;
  float mix[kMix];

  // Adds a score per lane, of keys before `to`; returns the lane's numerator.
  __device__ float add(float score, int key, int to) {
    const float infinity = __int_as_float(0x7F800000);
    if (key < begin || key >= end || key >= to) score = -infinity;
    const float now = fmaxf(largest, warp_max(score));
    if (now == -infinity) return 0;
    const float factor = expf(largest - now), numerator = expf(score - now);
    largest = now;
    sum = fmaf(sum, factor, warp_sum(numerator));
    CUDA_UNROLL
    for (int i = 0; i < kMix; ++i) mix[i] *= factor;
    return numerator;
  }
};

// Blocks whose registers fit into a multiprocessor, so that nothing is spilled on any target (docs/cuda.md).
constexpr int resident_blocks(int n_tiles) { return n_tiles == 1 ? 4 : n_tiles == 2 ? 3 : 2; }

/// kTiles: of 64 columns that hold a head of values.
template <int kTiles>
__global__ void __launch_bounds__(kThreads, resident_blocks(kTiles)) attend(Launch args) {
  constexpr int kPerTile = kColumns / kWarp, kMix = kTiles * kPerTile;
  CUDA_SHARED(queries, float[kRows][kColumns]);
  CUDA_SHARED(tile, float[kKeys][kColumns + 1]);  // of keys, then of values
  CUDA_SHARED(numerators, float[kRows][kKeys]);
  CUDA_SHARED(visible, unsigned[kRows]);  // where queries are told what they see: a bit per key of the tile
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarp, first_of_warp = t / kWarp * kRowsOfWarp;
  const int64_t n_group = args.n_group(), n_rows = args.n_rows(), kv = blockIdx.y, split = blockIdx.z;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kRows;
  const int64_t last_row = first_row + kRows < n_rows ? first_row + kRows - 1 : n_rows - 1;

  Row<kMix> rows[kRowsOfWarp];
  CUDA_UNROLL
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int64_t r = first_row + first_of_warp + i, position = args.first_position + r / n_group;
    const int64_t from = args.window > 0 && position + 1 > args.window ? position + 1 - args.window : 0;
    rows[i].end = r < n_rows ? static_cast<int>(position + 1) : 0;
    rows[i].begin = static_cast<int>(from);
    if (args.chosen()) {
      rows[i].begin = 0;
      rows[i].end = r < n_rows ? static_cast<int>(args.visible.cols) : 0;
    }
    // A sink is a score that precedes all keys.
    const bool sink = args.sinks != nullptr && split == 0;
    rows[i].largest = sink && r < n_rows ? args.sinks[kv * n_group + r % n_group] : -__int_as_float(0x7F800000);
    rows[i].sum = sink ? 1.0f : 0.0f;
    CUDA_UNROLL
    for (int m = 0; m < kMix; ++m) rows[i].mix[m] = 0;
  }

  const int64_t first_position = args.first_position + first_row / n_group;
  const bool windowed = args.window > 0 && first_position + 1 > args.window && !args.chosen();
  const int64_t seen_from = windowed ? first_position + 1 - args.window : 0;
  const int64_t seen_to = args.chosen() ? args.visible.cols : args.first_position + last_row / n_group + 1;
  const int64_t split_from = split * args.keys_of_split, split_to = split_from + args.keys_of_split;
  const auto from = static_cast<int>(seen_from > split_from ? seen_from : split_from);
  const auto to = static_cast<int>(seen_to < split_to ? seen_to : split_to);
  for (int key = from; key < to; key += kKeys) {
    if (args.chosen()) {  // tiles that no row sees are passed over
      unsigned any = 0;
      for (int i = 0; i < kRowsOfWarp; ++i) {
        const int64_t r = first_row + first_of_warp + i;
        const unsigned seen = __ballot_sync(kFullMask, r < n_rows && key + lane < to && args.sees(r, key + lane));
        if (lane == 0) visible[first_of_warp + i] = seen;
        any |= seen;
      }
      if (__syncthreads_or(static_cast<int>(any)) == 0) continue;
    }
    float scores[kRowsOfWarp] = {};
    for (int64_t column = 0; column < args.head_k; column += kColumns) {
      __syncthreads();  // the tile was read
      for (int i = t; i < kRows * kColumns; i += kThreads) {
        const int64_t r = first_row + i / kColumns, c = column + i % kColumns;
        const float* q = args.q.data + r / n_group * args.q.stride + (kv * n_group + r % n_group) * args.head_k;
        queries[i / kColumns][i % kColumns] =
            r < n_rows && c < args.head_k ? q[c] * static_cast<float>(args.scale) : 0.0f;
      }
      load_tile(args.k, kv, args.head_k, column, key, to, tile);
      __syncthreads();
      const int64_t rest = args.head_k - column;
      const int n = rest < kColumns ? static_cast<int>(rest) : kColumns;
      for (int c = 0; c < n; ++c) {
        const float k = tile[lane][c];
        CUDA_UNROLL
        for (int i = 0; i < kRowsOfWarp; ++i) scores[i] = fmaf(queries[first_of_warp + i][c], k, scores[i]);
      }
    }
    if (args.softcap > 0) {
      const auto cap = static_cast<float>(args.softcap);
      CUDA_UNROLL
      for (int i = 0; i < kRowsOfWarp; ++i) scores[i] = cap * tanhf(scores[i] / cap);
    }
    CUDA_UNROLL
    for (int i = 0; i < kRowsOfWarp; ++i) {
      if (args.chosen() && (visible[first_of_warp + i] >> lane & 1) == 0) scores[i] = -__int_as_float(0x7F800000);
      numerators[first_of_warp + i][lane] = rows[i].add(scores[i], key + lane, to);
    }
    CUDA_UNROLL
    for (int part = 0; part < kTiles; ++part) {
      __syncthreads();
      load_tile(args.v, kv, args.head_v, part * kColumns, key, to, tile);
      __syncthreads();
      for (int k = 0; k < kKeys; ++k) {
        CUDA_UNROLL
        for (int m = 0; m < kPerTile; ++m) {
          const float value = tile[k][m * kWarp + lane];
          CUDA_UNROLL
          for (int i = 0; i < kRowsOfWarp; ++i) {
            float& mix = rows[i].mix[part * kPerTile + m];
            mix = fmaf(numerators[first_of_warp + i][k], value, mix);
          }
        }
      }
    }
  }

  CUDA_UNROLL
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const int64_t r = first_row + first_of_warp + i;
    if (r >= n_rows) continue;
    const int64_t whole = (split * args.n_head_kv + kv) * n_rows + r;
    float* partial = args.partial == nullptr ? nullptr : args.partial + whole * (args.head_v + 2);
    float* out = partial != nullptr
                     ? partial
                     : args.out.data + r / n_group * args.out.stride + (kv * n_group + r % n_group) * args.head_v;
    const float factor = partial != nullptr || rows[i].sum == 0 ? 1.0f : 1.0f / rows[i].sum;  // 0: it sees nothing
    CUDA_UNROLL
    for (int m = 0; m < kMix; ++m) {
      const int64_t column = m * kWarp + lane;
      if (column < args.head_v) out[column] = rows[i].mix[m] * factor;
    }
    if (partial != nullptr && lane == 0) {
      partial[args.head_v] = rows[i].largest;
      partial[args.head_v + 1] = rows[i].sum;
    }
  }
}

// A block per row; the splits' weighted sums, each as if its own largest score were 0. A row that sees nothing has sums
// of 0.
__global__ void __launch_bounds__(kThreads) join_splits(Launch args) {
  const int64_t n_rows = args.n_rows(), kv = blockIdx.y, r = blockIdx.x, width = args.head_v + 2;
  const float* partial = args.partial + (kv * n_rows + r) * width;
  const int64_t step = args.n_head_kv * n_rows * width;
  float largest = -__int_as_float(0x7F800000), sum = 0;
  for (int64_t s = 0; s < args.n_splits; ++s) largest = fmaxf(largest, partial[s * step + args.head_v]);
  const bool blind = largest == -__int_as_float(0x7F800000);
  for (int64_t s = 0; s < args.n_splits && !blind; ++s) {
    sum = fmaf(partial[s * step + args.head_v + 1], expf(partial[s * step + args.head_v] - largest), sum);
  }
  const int64_t n_group = args.n_group();
  float* out = args.out.data + r / n_group * args.out.stride + (kv * n_group + r % n_group) * args.head_v;
  for (int64_t c = threadIdx.x; c < args.head_v; c += blockDim.x) {
    float mix = 0;
    for (int64_t s = 0; s < args.n_splits && !blind; ++s) {
      mix = fmaf(partial[s * step + c], expf(partial[s * step + args.head_v] - largest), mix);
    }
    out[c] = blind ? 0.0f : mix / sum;
  }
}

int64_t rows_of(const AttentionArgs& args) { return args.q.rows * (args.n_head / args.n_head_kv); }
int64_t keys_of(const AttentionArgs& args) {
  return args.visible.data != nullptr ? args.visible.cols : args.first_position + args.q.rows;
}

}  // namespace

int64_t attention_splits(const AttentionArgs& args, int n_processors) {
  const int64_t n_blocks = (rows_of(args) + kRows - 1) / kRows * args.n_head_kv;
  const int64_t n_keys = keys_of(args);
  const int64_t wanted = 2 * n_processors / n_blocks, most = n_keys / kLeastKeysOfSplit;
  return wanted < 2 || most < 2 ? 1 : wanted < most ? wanted : most;
}

int64_t attention_partial_size(const AttentionArgs& args, int64_t n_splits) {
  return n_splits > 1 ? n_splits * args.n_head_kv * rows_of(args) * (args.head_v + 2) : 0;
}

cudaError_t attention(const AttentionArgs& args, Matrix out, int64_t n_splits, float* partial, cudaStream_t stream) {
  if (args.q.rows == 0) return cudaSuccess;
  const int64_t tiles = (keys_of(args) + kKeys - 1) / kKeys;
  const Launch launch{args.q,
                      out,
                      args.visible,
                      cached_rows(args.k, args.head_k),
                      cached_rows(args.v, args.head_v),
                      args.n_head,
                      args.n_head_kv,
                      args.head_k,
                      args.head_v,
                      args.first_position,
                      args.window,
                      args.sinks,
                      args.scale,
                      args.softcap,
                      n_splits > 1 ? partial : nullptr,
                      n_splits,
                      (tiles + n_splits - 1) / n_splits * kKeys};
  const auto n_rows = static_cast<unsigned>(rows_of(args)), n_head_kv = static_cast<unsigned>(args.n_head_kv);
  const dim3 grid((n_rows + kRows - 1) / kRows, n_head_kv, static_cast<unsigned>(n_splits)), block(kThreads);
  cudaError_t error = cudaErrorInvalidValue;
  if (args.head_v <= 1 * kColumns)
    error = CUDA_LAUNCH(attend<1>, grid, block, 0, stream, launch);
  else if (args.head_v <= 2 * kColumns)
    error = CUDA_LAUNCH(attend<2>, grid, block, 0, stream, launch);
  else if (args.head_v <= 4 * kColumns)
    error = CUDA_LAUNCH(attend<4>, grid, block, 0, stream, launch);
  else if (args.head_v <= kMaxHeadValue)
    error = CUDA_LAUNCH(attend<8>, grid, block, 0, stream, launch);
  if (error != cudaSuccess || n_splits <= 1) return error;
  return CUDA_LAUNCH(join_splits, dim3(n_rows, n_head_kv), block, 0, stream, launch);
}

}  // namespace steelyard::compute::cuda
