// Every verb of simd/simd.h over the same inputs. Compiled once per target, and once more for one lane
// (tests/CMakeLists.txt).
#include "simd/verbs.h"

#include <cstring>

#include "base/half.h"
#include "simd/simd.h"

namespace steelyard::simd::inline STEELYARD_TARGET {
namespace {

struct Recorder {
  const VerbSink& sink;

  template <class T>
  void operator()(const char* verb, const T& answer) const {
    sink.append(sink.to, verb, &answer, sizeof(answer));
  }

  /// The vectors answer(i), for the values from i on.
  template <class Answer>
  void lanes(const char* verb, const Answer& answer) const {
    for (int i = 0; i < kVerbValues; i += kLanes) {
      const auto v = answer(i);
      static_assert(sizeof(v) == 4 * kLanes);
      (*this)(verb, v);
    }
  }

  /// A comparison, as a bit for each value.
  template <class Answer>
  void bits(const char* verb, const Answer& answer) const {
    uint64_t all = 0;
    for (int i = 0; i < kVerbValues; i += kLanes) all |= uint64_t{lane_bits(answer(i))} << i;
    (*this)(verb, all);
  }

  /// All values in one number: fold(so far, answer(i)).
  template <class Answer, class Fold>
  void folded(const char* verb, const Answer& answer, const Fold& fold) const {
    float all = answer(0);
    for (int i = kLanes; i < kVerbValues; i += kLanes) all = fold(all, answer(i));
    (*this)(verb, all);
  }
};

/// Where verbs store, with room to see what they must not touch.
template <class T, int n>
struct Page {
  static constexpr int kMargin = 8;
  Page() { std::memset(values, 0x5A, sizeof(values)); }
  T* begin() { return values + kMargin - 1; }
  T values[n + 2 * kMargin];
};

void native_floats(const VerbInputs& in, const Recorder& record) {
  const auto a = [&](int i) { return load(in.whole[0] + i); };
  const auto b = [&](int i) { return load(in.whole[1] + i); };
  const auto c = [&](int i) { return load(in.whole[2] + i); };
  record.lanes("load", [&](int i) { return load(in.any + i); });
  record.lanes("load of bytes", [&](int i) { return load(in.codes + i); });
  record.lanes("load_halves", [&](int i) { return load_halves(in.halves + i); });
  record.lanes("load_bfloats", [&](int i) { return load_bfloats(in.halves + i); });
  Page<float, kVerbValues> page;
  for (int i = 0; i < kVerbValues; i += kLanes) store(load(in.any + i), page.begin() + i);
  record("store", page);
  record.lanes("broadcast", [&](int) { return broadcast(in.whole[0][0]); });
  Page<uint32_t, kVerbValues> codes;
  for (int i = 0; i < kVerbValues; i += kLanes) store(to_codes(load(in.codes_as_floats + i)), codes.begin() + i);
  record("store of Words", codes);

  record.lanes("+", [&](int i) { return a(i) + b(i); });
  record.lanes("-", [&](int i) { return a(i) - b(i); });
  record.lanes("*", [&](int i) { return load(in.factors + i) * load(in.any + i); });
  record.lanes("/", [&](int i) { return load(in.any + i) / load(in.factors + i); });
  record.lanes("- of one", [&](int i) { return -load(in.factors + i); });
  record.lanes("?:", [&](int i) { return a(i) < b(i) ? b(i) : c(i); });
  record.bits("<", [&](int i) { return a(i) < b(i); });
  record.bits(">", [&](int i) { return a(i) > b(i); });
  record.bits("<=", [&](int i) { return a(i) <= b(i); });
  record.bits("==", [&](int i) { return a(i) == b(i); });
  record.lanes("fma", [&](int i) { return fma(a(i), b(i), c(i)); });
  record.lanes("max", [&](int i) { return max(load(in.any + i), b(i)); });
  record.lanes("min", [&](int i) { return min(load(in.any + i), b(i)); });
  record.lanes("clamp", [&](int i) { return clamp(load(in.any + i), -in.positive[0], in.positive[1]); });
  record.lanes("square_root", [&](int i) { return square_root(load(in.positive + i)); });
  // The sign of zero is the target's own affair; 0 is added to take it off.
  record.lanes("nearest_integer", [&](int i) { return nearest_integer(load(in.fractions + i)) + broadcast(0.0f); });

  const auto magnitudes = [&](int i) { return absolute_maximum(load(in.any + i), load(in.positive + i)); };
  record.lanes("absolute_maximum", magnitudes);
  // NaN is the largest: without a sign, bits are in the order of what they stand for.
  const auto greater_bits = [](float x, float y) { return read<uint32_t>(&x) > read<uint32_t>(&y) ? x : y; };
  record.folded(
      "largest_magnitude", [&](int i) { return largest_magnitude(magnitudes(i)); }, greater_bits);

  const auto add = [](const auto& x, const auto& y) { return x + y; };
  const auto greater = [](const auto& x, const auto& y) { return x > y ? x : y; };
  const auto smaller = [](const auto& x, const auto& y) { return x < y ? x : y; };
  record.folded(
      "fold_lanes", [&](int i) { return fold_lanes(a(i), add); }, add);
  record.folded(
      "sum", [&](int i) { return sum(a(i)); }, add);
  record.folded(
      "largest", [&](int i) { return largest(load(in.factors + i)); }, greater);
  record.folded(
      "least", [&](int i) { return least(load(in.factors + i)); }, smaller);
}

void native_integers(const VerbInputs& in, const Recorder& record) {
  const auto words = [&](int row, int i) { return read<Ints>(in.words[row] + i); };
  record.lanes("to_codes", [&](int i) { return to_codes(load(in.codes_as_floats + i)); });
  record.lanes("to_floats", [&](int i) { return to_floats(words(0, i)); });
  record.bits("lane_bits", [&](int i) { return words(0, i) > words(1, i); });
  int first = -1;
  for (int i = 0; i < kVerbValues && first < 0; i += kLanes) {
    const uint32_t bits = lane_bits(load(in.whole[0] + i) == broadcast(in.whole[0][kVerbValues - 1]));
    if (bits != 0) first = i + first_lane(bits);
  }
  record("first_lane", first);
  int least = 1 << 20;
  for (int i = 0; i < kVerbValues; i += kLanes) {
    // Multiples of 64, so that the lane decides only between equals.
    const Ints equal = load(in.whole[0] + i) >= broadcast(0.0f), firsts = (words(2, i) & 0xFFC0) + i;
    if (lane_bits(equal) == 0) continue;
    const int index = least_index(equal, firsts);
    least = index < least ? index : least;
  }
  record("least_index", least);
  record.lanes("look_up<4>", [&](int i) { return look_up<4>(in.table, words(0, i)); });
  record.lanes("look_up<8>", [&](int i) { return look_up<8>(in.table, words(0, i)); });
  record.lanes("look_up<16>", [&](int i) { return look_up<16>(in.table, words(0, i)); });

  const auto pairs = [&](int row, int i) { return load_pairs(in.pairs[row] + 2 * i); };
  record.lanes("load_pairs", [&](int i) { return pairs(0, i); });
  record.lanes("broadcast_pair", [&](int) { return broadcast_pair(in.pairs[0] + 5); });
  record.lanes("dot_pairs",
               [&](int i) { return dot_pairs(read<Ints>(in.small_words[0] + i), pairs(0, i), pairs(1, i)); });
  Page<int16_t, 2 * kVerbValues> stored;
  for (int half = 0; half < 2; ++half) {
    // 32 words of each row become 64 in turns of kLanes, which differ from target to target: taken apart again.
    const int32_t* rows[2] = {in.small_words[0] + 32 * half, in.small_words[1] + 32 * half};
    for (int i = 0; i < 32; i += kLanes) {
      int16_t both[2 * kLanes];
      store_pairs(read<Ints>(rows[0] + i), read<Ints>(rows[1] + i), both);
      std::memcpy(stored.begin() + 64 * half + i, both, sizeof(both) / 2);
      std::memcpy(stored.begin() + 64 * half + 32 + i, both + kLanes, sizeof(both) / 2);
    }
  }
  record("store_pairs", stored);
  Page<int16_t, 2 * kLanes> margins;
  store_pairs(read<Ints>(in.small_words[0]), read<Ints>(in.small_words[1]), margins.begin());
  int16_t outside[3] = {margins.begin()[-1], margins.begin()[2 * kLanes], margins.begin()[2 * kLanes + 1]};
  record("store_pairs", outside);

  constexpr int kStride = 7;  // of which four are written
  Page<int32_t, kStride * kVerbValues> columns;
  for (int i = 0; i < kVerbValues; i += kLanes) {
    const int32_t* rows[4];
    for (int r = 0; r < 4; ++r) rows[r] = in.words[r] + i;
    transpose_fours(rows, columns.begin() + i * kStride, kStride);
  }
  record("transpose_fours", columns);
}

// Memory that all lanes see; one_thread.h has it for all of these targets.
void memory_in_common(const VerbInputs& in, const Recorder& record) {
  LaneArray<32> array;
  array.fill([&](int i) { return in.whole[0][i]; });
  for (int i = 0; i < 32; i += kLanes) array.put(i, array.get(i) + load(in.whole[1] + i));
  array.set(17, in.whole[2][0]);
  for (int i = 0; i < 32; ++i) record("LaneArray", array[i]);
  Common<float[32]> common;
  each(32, [&](int i) { (*common)[i] = array.own(i) + 1.0f; });
  once([&] { (*common)[3] = 0.0f; });
  assign((*common)[4], in.whole[2][1]);
  record("Common", *common);
  record("number_of_digits", number_of_digits<8>(3, [&](int i) { return in.bytes[0][i] % 3; }));
}

void bytes_of_memory(const VerbInputs& in, const Recorder& record) {
  const auto& [a, b, c, d] = in.bytes;
  record("load_bytes", load_bytes(a));
  Page<uint8_t, 64> page;
  store(load_bytes(a), page.begin());
  record("store of Bytes", page);
  record("join_halves", join_halves(a + 3, b + 5));
  record("join_quarters", join_quarters(a + 1, b + 3, c + 5, d + 7));
  record("eights_twice", eights_twice(a + 1));
  record("twice_apart", twice_apart<16>(a + 1));
  record("twice_apart", twice_apart<17>(a + 1));
  record("twice_apart", twice_apart<18>(a + 1));
  record("twice_apart", twice_apart<48>(a + 1));
  record("twice_apart", twice_apart<50>(a + 1));
  record("fours", fours(a + 1));
  record("repeat", repeat(a[0]));
  record("repeat_word", repeat_word(a + 1));
  record("codewords of eight", codewords(in.grid_of_eight, [&](int i) { return in.bytes[0][i]; }));
  record("codewords of four", codewords(in.grid_of_four, [&](int i) { return in.bytes[0][i]; }));
}

void bytes(const VerbInputs& in, const Recorder& record) {
  const Bytes a = load_bytes(in.bytes[0]), b = load_bytes(in.bytes[1]);
  const auto counts = read<Counts>(in.counts);
  record("+ of Bytes", a + b);
  record("- of Bytes", a - b);
  record("& of Bytes", a & b);
  record("| of Bytes", a | b);
  record("shift_right", shift_right(a, counts));
  record("shift_left", shift_left(a, counts));
  record("multiply", multiply(a, b));
  record("at_least", at_least(a, in.bytes[1][0]));
  record("at_least", at_least(a, in.bytes[0][0]));
  record("any_bits", any_bits(in.integers[0] & in.integers[1] & in.integers[2], counts));
  record("spread", spread(in.integers[0]));
  record("negate_where", negate_where(a, in.integers[0]));
  record("look_up", look_up(in.nibble_table, load_bytes(in.nibbles)));
  record("as_floats", as_floats(a));
  record("to_floats<0>", to_floats<0>(a));
  record("to_floats<1>", to_floats<1>(a));
  record("to_floats<2>", to_floats<2>(a));
  record("to_floats<3>", to_floats<3>(a));

  const auto sums = read<Ints16>(in.sums[0]);
  const Bytes x = load_bytes(in.inputs);
  const auto record_dot = [&]<Factor kFactor>(const char* name, const int8_t* codes) {
    const Bytes biased_q = biased<kFactor>(load_bytes(codes)), fours[4] = {biased_q, biased_q, biased_q, biased_q};
    const Bytes inputs[4] = {x, x, x, x};
    // What the bias adds differs from target to target.
    const auto less_bias = [&](const Ints16& found, int times) {
      int32_t unbiased[16];
      std::memcpy(unbiased, &found, sizeof(unbiased));
      for (int i = 0; i < 64; ++i) unbiased[i / 4] -= times * kBias<kFactor> * in.inputs[i];
      record(name, unbiased);
    };
    less_bias(dot<kFactor>(sums, biased_q, x), 1);
    less_bias(dot_fours<kFactor>(sums, fours, inputs), 4);
  };
  record_dot.operator()<Factor::kByte>("dot<kByte>", in.codes);
  record_dot.operator()<Factor::kUnsigned>("dot<kUnsigned>", in.unsigned_codes);
  record_dot.operator()<Factor::kTiny>("dot<kTiny>", in.tiny_codes);
  record_dot.operator()<Factor::kSmall>("dot<kSmall>", in.small_codes);
}

void sixteen_numbers(const VerbInputs& in, const Recorder& record) {
  const Floats16 a = load16(in.whole[0]), b = load16(in.whole[1]), c = load16(in.whole[2]);
  record("load16", load16(in.any));
  Page<float, 16> page;
  store(load16(in.any), page.begin());
  record("store of Floats16", page);
  record("broadcast16", broadcast16(in.whole[0][0]));
  record("+ of Floats16", load16(in.any) + b);
  record("- of Floats16", load16(in.any) - b);
  record("* of Floats16", load16(in.any) * load16(in.factors));
  record("fma of Floats16", fma(a, b, c));
  record("subtract_product", subtract_product(a, b, c));
  record("sum of Floats16", sum(load16(in.fractions)));  // halves are added in the same order by all
  record("spread_groups<0>", spread_groups<0>(a));
  record("spread_groups<1>", spread_groups<1>(a));
  record("spread_groups<2>", spread_groups<2>(a));
  record("spread_groups<3>", spread_groups<3>(a));
  record("broadcast_half", broadcast_half(read<Half>(in.halves)));
  // As blocks have them: of one pair of 64 bytes, of more, and few.
  record("halves_apart", halves_apart<8, 18>(in.halves));
  record("halves_apart", halves_apart<8, 20>(in.halves));
  record("halves_apart", halves_apart<8, 22>(in.halves));
  record("halves_apart", halves_apart<8, 24>(in.halves));
  record("halves_apart", halves_apart<8, 34>(in.halves));
  record("halves_apart", halves_apart<4, 18>(in.halves));
  record("halves_apart", halves_apart<2, 18>(in.halves));
  record("halves_apart", halves_apart<1, 18>(in.halves));
  record("each_part", each_part<Floats16>([&](int p) { return load(in.any + p * kLanes); }));

  const Ints16 words = load16(in.sums[0]);
  record("load16 of integers", words);
  Page<int32_t, 16> integers;
  store(words, integers.begin());
  record("store of Ints16", integers);
  record("repeat16", repeat16(in.words[0][0]));
  record("next_digit", next_digit(words, read<Ints16>(in.sums[1])));
  record("to_floats of Ints16", to_floats(read<Ints16>(in.words[0])));
  Page<int8_t, 16> low;
  store_low_bytes(read<Ints16>(in.low_words), low.begin());
  record("store_low_bytes", low);
}

void sub_scales(const VerbInputs& in, const Recorder& record) {
  const auto [low, high, other, more] = in.integers;
  const SubScales a = make_sub_scales(low, high), b = make_sub_scales(other, more);
  record("make_sub_scales", a);
  record("repeat_sub_scale", repeat_sub_scale(in.bytes[0][0]));
  record("+ of SubScales", a + b);
  record("| of SubScales", a | b);
  record("& of SubScales", a & b);
  for (const uint64_t count : in.counts) record("shift_right of SubScales", shift_right(a, static_cast<int>(count)));
  record("twice", twice(low));
  record("nibble_sub_scales", nibble_sub_scales(low));
  record("to_floats of SubScales", to_floats(a));
}

void words(const VerbInputs& in, const Recorder& record) {
  record("nibbles_as_bytes", nibbles_as_bytes(static_cast<uint32_t>(in.integers[0])));
  record("even_bytes", even_bytes(in.integers[0] & 0x00FF00FF00FF00FFu));
  record("read", read<uint64_t>(in.bytes[0] + 1));
  unrolled<5>([&]<int i>() { record("unrolled", i); });
}

void run(const VerbInputs& in, const VerbSink& sink) {
  const Recorder record{sink};
  native_floats(in, record);
  native_integers(in, record);
  memory_in_common(in, record);
  bytes_of_memory(in, record);
  bytes(in, record);
  sixteen_numbers(in, record);
  sub_scales(in, record);
  words(in, record);
}

}  // namespace

extern const VerbProbe kVerbs = {kLanes, run};

}  // namespace steelyard::simd::inline STEELYARD_TARGET
