// What vectors of the compiler (GCC and clang) say of the vocabulary for any width. A leaf header includes it after its
// own instructions; kParts registers hold 64 bytes or 16 numbers.
//
// It takes from the leaf, beside its verbs: kByteBias, what makes a byte positive, or 0 where bytes are multiplied with
// their signs; and kAddsPairs, whether products of bytes come as sums of pairs in 16 bits (pair_products, add_pairs).
// Pairs of products of biased bytes could exceed 16 bits.
#pragma once

#include <bit>
#include <utility>

namespace steelyard::simd::inline STEELYARD_TARGET {

inline Floats broadcast(float value) { return value - Floats{}; }
inline Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(const Floats& v, float* p) { std::memcpy(p, &v, sizeof(v)); }
inline void store(const Words& v, uint32_t* p) { std::memcpy(p, &v, sizeof(v)); }

/// Whole numbers of at least 0 as integers.
inline Words to_codes(const Floats& v) { return __builtin_convertvector(v, Words); }
inline Floats to_floats(const Ints& v) { return __builtin_convertvector(v, Floats); }
inline int first_lane(uint32_t bits) { return std::countr_zero(bits); }
inline int least_index(const Ints& mask, const Ints& first) {
  int firsts[kLanes];
  std::memcpy(firsts, &first, sizeof(firsts));
  uint32_t bits = lane_bits(mask);
  int least = firsts[first_lane(bits)] + first_lane(bits);
  for (bits &= bits - 1; bits != 0; bits &= bits - 1) {
    const int index = firsts[first_lane(bits)] + first_lane(bits);
    least = index < least ? index : least;
  }
  return least;
}

inline Ints load_pairs(const int16_t* p) {
  Ints v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
/// One pair in all lanes.
inline Ints broadcast_pair(const int16_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof(pair));
  return pair - Ints{};
}

template <int kStep, size_t... lane>
inline Floats partners(const Floats& v, std::index_sequence<lane...>) {
  return __builtin_shufflevector(v, v, (static_cast<int>(lane) ^ kStep)...);
}

/// All lanes folded into one by halves: lane l with l + kLanes / 2, and so on.
template <int kStep = kLanes / 2, class Fold>
inline float fold_lanes(const Floats& v, const Fold& fold) {
  if constexpr (kStep == 0)
    return v[0];
  else
    return fold_lanes<kStep / 2>(fold(v, partners<kStep>(v, std::make_index_sequence<kLanes>())), fold);
}

template <bool kUpper, int... lane>
inline Ints zip_words(const Ints& a, const Ints& b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (lane / 4 * 4 + lane % 4 / 2 + 2 * kUpper + lane % 2 * kLanes)...);
}
template <bool kUpper, int... lane>
inline Ints zip_pairs(const Ints& a, const Ints& b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (lane / 4 * 4 + lane % 2 + 2 * kUpper + lane % 4 / 2 * kLanes)...);
}
template <int kFirst>
inline void store_four(const Ints& v, int32_t* out) {
  const auto four = __builtin_shufflevector(v, v, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
  std::memcpy(out, &four, sizeof(four));
}
/// Four rows of kLanes words become kLanes rows of four; those are `stride` words apart.
inline void transpose_fours(const int32_t* const (&rows)[4], int32_t* out, int64_t stride) {
  constexpr std::make_integer_sequence<int, kLanes> kEach;
  Ints row[4];
  for (int r = 0; r < 4; ++r) row[r] = read<Ints>(rows[r]);
  const Ints ab[2] = {zip_words<false>(row[0], row[1], kEach), zip_words<true>(row[0], row[1], kEach)};
  const Ints cd[2] = {zip_words<false>(row[2], row[3], kEach), zip_words<true>(row[2], row[3], kEach)};
  const Ints columns[4] = {zip_pairs<false>(ab[0], cd[0], kEach), zip_pairs<true>(ab[0], cd[0], kEach),
                           zip_pairs<false>(ab[1], cd[1], kEach), zip_pairs<true>(ab[1], cd[1], kEach)};
  const auto store_all = [&]<int... four>(std::integer_sequence<int, four...>) {
    for (int j = 0; j < 4; ++j) (store_four<4 * four>(columns[j], out + (4 * four + j) * stride), ...);
  };
  store_all(std::make_integer_sequence<int, kLanes / 4>());
}

/// max(|v|, most), most >= 0; NaN counts as the largest.
inline Floats absolute_maximum(const Floats& v, const Floats& most) {
  const Ints bits = reinterpret_cast<Ints>(v) & 0x7FFFFFFF, other = reinterpret_cast<Ints>(most);
  return reinterpret_cast<Floats>(bits > other ? bits : other);
}
inline float largest_magnitude(const Floats& v) {
  return fold_lanes(v, [](const Floats& a, const Floats& b) { return absolute_maximum(a, b); });
}

// ---- 64 bytes and 16 numbers

inline constexpr int kParts = 16 / kLanes;
inline constexpr int kPartBytes = 64 / kParts;

struct Bytes {
  using Part = Ints;
  Part part[kParts];
};
struct Floats16 {
  using Part = Floats;
  Part part[kParts];
};
struct Ints16 {
  using Part = Ints;
  Part part[kParts];
};

using ByteLanes [[gnu::vector_size(kPartBytes)]] = uint8_t;
using LongLanes [[gnu::vector_size(kPartBytes)]] = uint64_t;
inline ByteLanes as_bytes(const Ints& v) { return reinterpret_cast<ByteLanes>(v); }
template <class Vector>
inline Ints as_ints(const Vector& v) {
  return reinterpret_cast<Ints>(v);
}

/// f(part) for each part, as a T.
template <class T, class F>
[[gnu::always_inline]] inline T each_part(const F& f) {
  // Not a loop: GCC would keep the parts in memory.
  if constexpr (kParts == 1) return {{f(0)}};
  if constexpr (kParts == 2) return {{f(0), f(1)}};
  if constexpr (kParts == 4) return {{f(0), f(1), f(2), f(3)}};
}

// Register by register: GCC copies a whole struct in pieces, which a load that is wider has to wait for.
template <class T>
[[gnu::always_inline]] inline T load_parts(const void* p) {
  return each_part<T>([&](int i) { return read<typename T::Part>(static_cast<const char*>(p) + i * kPartBytes); });
}
template <class T>
[[gnu::always_inline]] inline void store_parts(const T& v, void* p) {
  for (int i = 0; i < kParts; ++i) std::memcpy(static_cast<char*>(p) + i * kPartBytes, &v.part[i], kPartBytes);
}
inline Bytes load_bytes(const void* p) { return load_parts<Bytes>(p); }
inline void store(const Bytes& v, void* p) { store_parts(v, p); }
inline Bytes repeat(int byte) {
  return each_part<Bytes>([&](int) { return as_ints(static_cast<uint8_t>(byte) - ByteLanes{}); });
}
inline Bytes operator+(const Bytes& a, const Bytes& b) {
  return each_part<Bytes>([&](int p) { return as_ints(as_bytes(a.part[p]) + as_bytes(b.part[p])); });
}
inline Bytes operator-(const Bytes& a, const Bytes& b) {
  return each_part<Bytes>([&](int p) { return as_ints(as_bytes(a.part[p]) - as_bytes(b.part[p])); });
}
inline Bytes operator&(const Bytes& a, const Bytes& b) {
  return each_part<Bytes>([&](int p) { return a.part[p] & b.part[p]; });
}
inline Bytes operator|(const Bytes& a, const Bytes& b) {
  return each_part<Bytes>([&](int p) { return a.part[p] | b.part[p]; });
}
inline Bytes multiply(const Bytes& a, const Bytes& b) {
  return each_part<Bytes>([&](int p) { return as_ints(as_bytes(a.part[p]) * as_bytes(b.part[p])); });
}
inline Bytes at_least(const Bytes& v, uint8_t bound) {
  return each_part<Bytes>([&](int p) { return as_ints(as_bytes(v.part[p]) >= bound - ByteLanes{}); });
}

/// A number for every eight bytes.
struct Counts {
  uint64_t each[8];
};
inline LongLanes part_of(const Counts& counts, int p) { return read<LongLanes>(counts.each + p * (8 / kParts)); }
inline Bytes shift_right(const Bytes& v, const Counts& counts) {
  return each_part<Bytes>([&](int p) { return as_ints(reinterpret_cast<LongLanes>(v.part[p]) >> part_of(counts, p)); });
}
inline Bytes shift_left(const Bytes& v, const Counts& counts) {
  return each_part<Bytes>([&](int p) { return as_ints(reinterpret_cast<LongLanes>(v.part[p]) << part_of(counts, p)); });
}
inline Bytes any_bits(uint64_t word, const Counts& tests) {
  return each_part<Bytes>([&](int p) { return as_ints((part_of(tests, p) & word) != 0); });
}
inline Bytes spread(uint64_t bits) {
  return each_part<Bytes>([&](int p) { return spread_part(bits >> (p * kPartBytes % 64)); });
}
inline Bytes negate_where(const Bytes& v, uint64_t bits) {
  return each_part<Bytes>([&](int p) { return negate_part(v.part[p], bits >> (p * kPartBytes % 64)); });
}
inline Bytes look_up(const int8_t* table, const Bytes& v) {
  return each_part<Bytes>([&](int p) { return look_up_part(table, v.part[p]); });
}

template <Factor kFactor>
inline constexpr int kBias = bias_of(kFactor, kByteBias);
template <Factor kFactor>
inline Bytes biased(const Bytes& v) {
  if constexpr (kBias<kFactor> == 0)
    return v;
  else
    return v + repeat(kBias<kFactor>);
}
template <Factor kFactor>
inline Ints16 dot(const Ints16& sums, const Bytes& q, const Bytes& x) {
  return each_part<Ints16>([&](int p) { return dot_part<kFactor>(sums.part[p], q.part[p], x.part[p]); });
}
/// Four products of a register each; those of small codes are added up as pairs.
template <Factor kFactor>
inline Ints dot_fours_part(Ints sums, const Ints (&q)[4], const Ints (&x)[4]) {
  if constexpr (kAddsPairs && (kFactor == Factor::kUnsigned || kFactor == Factor::kTiny)) {  // 8 * 32 * 127 < 2^15
    auto pairs = pair_products<kFactor>(q[0], x[0]);
    for (int i = 1; i < 4; ++i) pairs = add_products(pairs, pair_products<kFactor>(q[i], x[i]));
    return add_pairs(sums, pairs);
  } else {
    for (int i = 0; i < 4; ++i) sums = dot_part<kFactor>(sums, q[i], x[i]);
    return sums;
  }
}
template <Factor kFactor>
[[gnu::always_inline]] inline Ints16 dot_fours(const Ints16& sums, const Bytes (&q)[4], const Bytes (&x)[4]) {
  return each_part<Ints16>([&](int p) {
    const Ints qs[4] = {q[0].part[p], q[1].part[p], q[2].part[p], q[3].part[p]};
    const Ints xs[4] = {x[0].part[p], x[1].part[p], x[2].part[p], x[3].part[p]};
    return dot_fours_part<kFactor>(sums.part[p], qs, xs);
  });
}
/// `sums` of inputs as what biased codes make too much of them.
template <Factor kFactor>
inline Ints16 times_bias(const Ints16& sums) {
  return each_part<Ints16>([&](int p) { return sums.part[p] * kBias<kFactor>; });
}

inline Floats16 load16(const float* p) { return load_parts<Floats16>(p); }
inline void store(const Floats16& v, float* p) { store_parts(v, p); }
inline Floats16 broadcast16(float value) {
  return each_part<Floats16>([&](int) { return broadcast(value); });
}
inline Floats16 operator+(const Floats16& a, const Floats16& b) {
  return each_part<Floats16>([&](int p) { return a.part[p] + b.part[p]; });
}
inline Floats16 operator-(const Floats16& a, const Floats16& b) {
  return each_part<Floats16>([&](int p) { return a.part[p] - b.part[p]; });
}
inline Floats16 operator*(const Floats16& a, const Floats16& b) {
  return each_part<Floats16>([&](int p) { return a.part[p] * b.part[p]; });
}
inline Floats16 fma(const Floats16& a, const Floats16& b, const Floats16& c) {
  return each_part<Floats16>([&](int p) { return fma(a.part[p], b.part[p], c.part[p]); });
}
/// c - a * b.
inline Floats16 subtract_product(const Floats16& c, const Floats16& a, const Floats16& b) {
  return each_part<Floats16>([&](int p) { return fma(-a.part[p], b.part[p], c.part[p]); });
}
/// By halves: the first eight and the last, and so on.
inline float sum(const Floats16& v) {
  Floats parts[kParts];
  for (int p = 0; p < kParts; ++p) parts[p] = v.part[p];
  for (int n = kParts / 2; n > 0; n /= 2) {
    for (int p = 0; p < n; ++p) parts[p] += parts[p + n];
  }
  return fold_lanes(parts[0], [](const Floats& a, const Floats& b) { return a + b; });
}
inline Ints16 repeat16(int32_t value) {
  return each_part<Ints16>([&](int) { return value - Ints{}; });
}
inline void store(const Ints16& v, int32_t* p) { store_parts(v, p); }
inline Ints16 load16(const int32_t* p) { return load_parts<Ints16>(p); }
/// a * 255 + b.
inline Ints16 next_digit(const Ints16& a, const Ints16& b) {
  return each_part<Ints16>([&](int p) { return (a.part[p] << 8) - a.part[p] + b.part[p]; });
}
inline Floats16 to_floats(const Ints16& v) {
  return each_part<Floats16>([&](int p) { return to_floats(v.part[p]); });
}
inline Floats16 as_floats(const Bytes& v) {
  return each_part<Floats16>([&](int p) { return reinterpret_cast<Floats>(v.part[p]); });
}

/// One word in all places.
inline Bytes repeat_word(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return each_part<Bytes>([&](int) { return word - Ints{}; });
}

/// Eight bytes of codewords: one of eight, or two of four.
template <class Word, class Index>
inline int64_t eight_bytes(const Word* grid, const Index& index, int i) {
  if constexpr (sizeof(Word) == 8)
    return static_cast<int64_t>(grid[index(i)]);
  else
    return static_cast<int64_t>(grid[index(2 * i)] | uint64_t{grid[index(2 * i + 1)]} << 32);
}

struct SubScales {
  using Each [[gnu::vector_size(16)]] = uint8_t;
  Each bytes;
};
inline SubScales make_sub_scales(uint64_t low, uint64_t high) {
  using Two [[gnu::vector_size(16)]] = uint64_t;
  return {reinterpret_cast<SubScales::Each>(Two{low, high})};
}
inline SubScales repeat_sub_scale(uint8_t byte) { return {byte - SubScales::Each{}}; }
inline SubScales operator+(const SubScales& a, const SubScales& b) { return {a.bytes + b.bytes}; }
inline SubScales operator|(const SubScales& a, const SubScales& b) { return {a.bytes | b.bytes}; }
inline SubScales operator&(const SubScales& a, const SubScales& b) { return {a.bytes & b.bytes}; }
inline SubScales shift_right(const SubScales& v, int count) {
  using Two [[gnu::vector_size(16)]] = uint64_t;
  return {reinterpret_cast<SubScales::Each>(reinterpret_cast<Two>(v.bytes) >> count)};
}
inline SubScales twice(uint64_t eight) {
  const SubScales::Each v = make_sub_scales(eight, 0).bytes;
  return {__builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7)};
}
inline SubScales nibble_sub_scales(uint64_t eight) {
  const SubScales::Each low = make_sub_scales(eight, 0).bytes, high = make_sub_scales(eight >> 4, 0).bytes;
  return SubScales{__builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)} &
         repeat_sub_scale(15);
}

/// n <= 8 halves side by side.
template <int n, int kStride>
inline SubScales collect_halves(const void* p) {
  uint64_t words[2] = {};
  for (int i = 0; i < n; ++i) {
    words[i / 4] |= uint64_t{read<uint16_t>(static_cast<const char*>(p) + i * kStride)} << (16 * (i % 4));
  }
  return make_sub_scales(words[0], words[1]);
}

template <int kFirst, size_t... lane>
inline Floats lanes_from(const Floats& groups, std::index_sequence<lane...>) {
  return __builtin_shufflevector(groups, groups, (kFirst + static_cast<int>(lane) / 4)...);
}
template <int k, size_t... part>
inline Floats16 spread_parts(const Floats16& groups, std::index_sequence<part...>) {
  constexpr int kOfPart = kLanes / 4;  // groups that a register of the result has
  return {{lanes_from<(4 * k + static_cast<int>(part) * kOfPart) % kLanes>(
      groups.part[(4 * k + static_cast<int>(part) * kOfPart) / kLanes], std::make_index_sequence<kLanes>())...}};
}
template <int k>
inline Floats16 spread_groups(const Floats16& groups) {
  return spread_parts<k>(groups, std::make_index_sequence<kParts>());
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET
