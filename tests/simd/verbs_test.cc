// The verbs of simd/simd.h, target by target: each answers what one lane does, whose plain loops are the specification.
#include "simd/verbs.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "simd/target.h"
#include "support.h"

namespace steelyard::simd {

// verbs.simd.cc, once per target and for one lane.
#define TARGET(enumerator, name, ...) \
  namespace name {                    \
  extern const VerbProbe kVerbs;      \
  }
#include "simd/targets.def"
#undef TARGET
namespace one_lane {
extern const VerbProbe kVerbs;
}

namespace {

const VerbProbe& probe(Target target) {
  static constexpr PerTarget<VerbProbe> kProbes({
#define TARGET(enumerator, name, ...) &name::kVerbs,
#include "simd/targets.def"
#undef TARGET
  });
  return kProbes[target];
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  uint64_t bits() { return engine_(); }
  /// low .. high; every fourth time an end of that.
  template <class T>
  T between(T low, T high) {
    if (bits() % 4 == 0) return bits() % 2 == 0 ? low : high;
    return static_cast<T>(std::uniform_int_distribution<int64_t>(low, high)(engine_));
  }
  /// A float of any magnitude whose square and inverse are neither infinite nor subnormal.
  float positive() {
    const auto fraction = static_cast<uint32_t>(bits() >> 41);
    return std::bit_cast<float>(static_cast<uint32_t>(between(70, 180)) << 23 | fraction);
  }
  float sign() { return bits() % 2 == 0 ? 1.0f : -1.0f; }

  template <class T, size_t n, class F>
  void fill(T (&out)[n], const F& value) {
    std::generate(out, out + n, [&] { return static_cast<T>(value()); });
  }
  template <class T, size_t n, size_t m, class F>
  void fill(T (&out)[n][m], const F& value) {
    for (auto& row : out) fill(row, value);
  }

 private:
  std::mt19937_64 engine_;
};

VerbInputs random_inputs(uint32_t seed) {
  Random random(seed);
  VerbInputs in;
  random.fill(in.bytes, [&] { return random.between(0, 255); });
  random.fill(in.codes, [&] { return random.between(-128, 127); });
  random.fill(in.unsigned_codes, [&] { return random.between(0, 32); });
  random.fill(in.tiny_codes, [&] { return random.between(-16, 16); });
  random.fill(in.small_codes, [&] { return random.between(-63, 63); });
  random.fill(in.inputs, [&] { return random.between(-127, 127); });
  random.fill(in.nibbles, [&] { return random.between(0, 15); });
  random.fill(in.nibble_table, [&] { return random.between(-128, 127); });
  random.fill(in.halves, [&] {
    const auto half = random.between<uint32_t>(0, 0xFFFF);
    return (half & 0x7FFF) > 0x7C00 ? half | 0x200 : half;
  });
  random.fill(in.pairs, [&] { return random.between(-32767, 32767); });
  random.fill(in.words, [&] { return static_cast<uint32_t>(random.bits()); });
  random.fill(in.small_words, [&] { return random.between(-32768, 32767); });
  random.fill(in.low_words, [&] { return random.between(-128, 127); });
  random.fill(in.sums, [&] { return random.between(-(1 << 22), 1 << 22); });
  random.fill(in.whole, [&] { return random.between(-100, 100); });
  random.fill(in.factors, [&] { return random.sign() * random.positive(); });
  random.fill(in.any, [&] {
    constexpr float kSpecial[] = {0.0f, -0.0f, HUGE_VALF, -HUGE_VALF, std::numeric_limits<float>::quiet_NaN()};
    return random.bits() % 4 == 0 ? kSpecial[random.bits() % 5] : random.sign() * random.positive();
  });
  random.fill(in.positive, [&] { return random.bits() % 8 == 0 ? 0.0f : random.positive(); });
  random.fill(in.fractions, [&] { return static_cast<float>(random.between(-(1 << 23) + 1, (1 << 23) - 1)) / 2.0f; });
  // Small ones, too: halves, and what is just beside them.
  for (int i = 0; i < kVerbValues; i += 2) {
    const float half = static_cast<float>(random.between(-20, 20)) / 2.0f;
    in.fractions[i] = std::nextafter(half, static_cast<float>(random.between(-30, 30)) / 2.0f);
  }
  random.fill(in.codes_as_floats, [&] { return random.between(0, 1 << 24); });
  random.fill(in.table, [&] { return random.sign() * random.positive(); });
  random.fill(in.grid_of_four, [&] { return random.bits(); });
  random.fill(in.grid_of_eight, [&] { return random.bits(); });
  random.fill(in.counts, [&] { return random.between(0, 63); });
  random.fill(in.integers, [&] { return random.bits(); });
  return in;
}

/// What each verb answered, as bytes.
using Answers = std::map<std::string, std::string>;

Answers answers(const VerbProbe& probe, const VerbInputs& in) {
  Answers all;
  probe.run(in, {[](void* to, const char* verb, const void* bytes, size_t n) {
                   (*static_cast<Answers*>(to))[verb].append(static_cast<const char*>(bytes), n);
                 },
                 &all});
  return all;
}

/// The verbs for which `a` and `b` differ.
std::set<std::string> differing(const Answers& a, const Answers& b) {
  std::set<std::string> verbs;
  for (const auto* each : {&a, &b}) {
    for (const auto& [verb, bytes] : *each) {
      if (!a.contains(verb) || !b.contains(verb) || a.at(verb) != b.at(verb)) verbs.insert(verb);
    }
  }
  return verbs;
}

TEST(Verbs, EachTargetAnswersAsOneLaneDoes) {
  std::map<Target, std::set<std::string>> wrong;
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const VerbInputs in = random_inputs(seed);
    const Answers expected = answers(one_lane::kVerbs, in);
    for (const Target target : supported_targets())
      wrong[target].merge(differing(answers(probe(target), in), expected));
  }
  for (const auto& [target, verbs] : wrong) {
    for (const std::string& verb : verbs) ADD_FAILURE() << target_name(target) << " differs from one lane in " << verb;
  }
}

TEST(Verbs, OneLaneIsOneLaneAndTargetsAreAsWideAsTheirRegisters) {
  EXPECT_EQ(one_lane::kVerbs.lanes, 1);
  const std::map<std::string_view, int> lanes = {{"scalar", 4}, {"avx2", 8}, {"avx512", 16}, {"avx512vnni", 16}};
  for (const Target target : supported_targets()) {
    ASSERT_TRUE(lanes.contains(target_name(target))) << target_name(target) << " is new here";
    EXPECT_EQ(probe(target).lanes, lanes.at(target_name(target))) << target_name(target);
  }
}

TEST(Verbs, WhatDiffersIsFound) {
  EXPECT_EQ(differing({{"fma", "1"}, {"max", "2"}}, {{"fma", "1"}, {"max", "2"}}), std::set<std::string>{});
  EXPECT_EQ(differing({{"fma", "1"}, {"max", "2"}}, {{"fma", "1"}, {"max", "3"}}), std::set<std::string>{"max"});
  EXPECT_EQ(differing({{"fma", "1"}}, {{"fma", "1"}, {"max", ""}}), std::set<std::string>{"max"});
}

}  // namespace
}  // namespace steelyard::simd
