// Compiled once per target (cmake/simd.cmake); STEELYARD_TARGET names the namespace. No standard containers and no
// shared inline functions here.
#include "compute/cpu/delta_net.h"

#include "compute/cpu/exponential.h"
#include "compute/cpu/verbs.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

template <typename V>
inline constexpr int64_t kWidth = sizeof(V) / sizeof(float);

// One vector, or one value for the rest of a row.
template <typename V>
inline V get(const float* p) {
  return read<V>(p);
}
template <typename V>
inline void put(float* p, const V& v) {
  __builtin_memcpy(p, &v, sizeof(v));
}

// What the next token needs of the state after this token: S^T k and S^T q, for N vectors of columns.
template <typename V, int N>
struct Projections {
  V key[N] = {}, query[N] = {};
};

// One sweep over a block of the state, [head, N vectors]: with kUpdate S = decay S + k u^T first, then with kProject
// the projections of the result on the next key and query. Both are done at once, so that the state is read and written
// once per token. kByChannel: each row has a decay.
template <bool kUpdate, bool kProject, bool kByChannel, typename V, int N>
inline Projections<V, N> sweep(float* state, int64_t head, const float* decays, const float* k, const V* u,
                               const float* next_k, const float* next_q) {
  Projections<V, N> next;
  float decay = kUpdate ? *decays : 0;
  for (int64_t i = 0; i < head; ++i) {
    float* row = state + i * N * kWidth<V>;
    // Read before the stores below, because the compiler must assume that these change anything.
    if constexpr (kUpdate && kByChannel) decay = decays[i];
    const float key = kUpdate ? k[i] : 0, next_key = kProject ? next_k[i] : 0, next_query = kProject ? next_q[i] : 0;
    for (int j = 0; j < N; ++j) {
      V s = get<V>(row + j * kWidth<V>);
      if constexpr (kUpdate) {
        s = s * decay + u[j] * key;
        put(row + j * kWidth<V>, s);
      }
      if constexpr (kProject) {
        next.key[j] += s * next_key;
        next.query[j] += s * next_query;
      }
    }
  }
  return next;
}

// The tokens in turn for the N vectors of columns from `column`. A block of the state stays in the first-level cache.
// With p, r = S^T k, S^T q of the state before the token: u = beta (v - decay p), and the new state's S^T q is
// decay r + (k.q) u. Where each row of S has a decay, k and q are multiplied by it before p and r are made.
template <bool kByChannel, typename V, int N>
void columns(const DeltaHead& a, int64_t column) {
  float* state = a.state + column * a.head;
  const float* const seen_k = kByChannel ? a.decayed_k : a.k;
  const int64_t n_decays = kByChannel ? a.head : 1;  // of a token
  Projections<V, N> now = sweep<false, true, kByChannel, V, N>(state, a.head, nullptr, nullptr, nullptr, seen_k, a.q);
  for (int64_t t = 0; t < a.n; ++t) {
    const float beta = a.beta[t], kq = a.kq[t];
    const float decay = kByChannel ? 1.0f : a.decay[t];
    V u[N];
    for (int j = 0; j < N; ++j) {
      u[j] = (get<V>(a.v + t * a.head + column + j * kWidth<V>) - now.key[j] * decay) * beta;
      put(a.out + t * a.out_stride + column + j * kWidth<V>, now.query[j] * decay + u[j] * kq);
    }
    const float* k = a.k + t * a.head;
    const float* decays = a.decay + t * n_decays;
    if (t + 1 < a.n) {
      now = sweep<true, true, kByChannel, V, N>(state, a.head, decays, k, u, seen_k + (t + 1) * a.head,
                                                a.q + (t + 1) * a.head);
    } else {
      sweep<true, false, kByChannel, V, N>(state, a.head, decays, k, u, nullptr, nullptr);
    }
  }
}

template <bool kByChannel>
void all_columns(const DeltaHead& a) {
  constexpr int kVectors = 4;  // with two sums each: enough to hide latency, and all in registers
  int64_t c = 0;
  for (; c + kVectors * kLanes <= a.head; c += kVectors * kLanes) columns<kByChannel, Floats, kVectors>(a, c);
  for (; c + kLanes <= a.head; c += kLanes) columns<kByChannel, Floats, 1>(a, c);
  for (; c < a.head; ++c) columns<kByChannel, float, 1>(a, c);
}

void delta_rule(const DeltaHead& a) {
  if (a.n == 0) return;
  if (a.decayed_k != nullptr)
    all_columns<true>(a);
  else
    all_columns<false>(a);
}

template <bool kSilu, typename V, typename U>
inline void conv_at(const float* const* rows, const float* taps, int64_t taps_stride, int64_t n_taps, const float* bias,
                    float* out, int64_t c) {
  V sum = bias != nullptr ? get<V>(bias + c) : V{};
  for (int64_t i = 0; i < n_taps; ++i) sum += get<V>(taps + i * taps_stride + c) * get<V>(rows[i] + c);
  if constexpr (kSilu) sum = times_sigmoid<V, U>(sum, sum);
  put(out + c, sum);
}

template <bool kSilu>
void conv(const float* const* rows, const float* taps, int64_t taps_stride, int64_t n_taps, const float* bias,
          float* out, int64_t n) {
  int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) conv_at<kSilu, Floats, Words>(rows, taps, taps_stride, n_taps, bias, out, c);
  for (; c < n; ++c) conv_at<kSilu, float, unsigned>(rows, taps, taps_stride, n_taps, bias, out, c);
}

void sigmoid_gate(float* x, const float* gate, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    put(x + i, times_sigmoid<Floats, Words>(get<Floats>(x + i), get<Floats>(gate + i)));
  }
  for (; i < n; ++i) x[i] = times_sigmoid<float, unsigned>(x[i], gate[i]);
}

}  // namespace

extern const DeltaNetKernels kDeltaNetKernels = {STEELYARD_STRING(STEELYARD_TARGET), delta_rule, conv<false>,
                                                 conv<true>, sigmoid_gate};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET
