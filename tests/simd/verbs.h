// Between verbs.simd.cc, compiled once per target, and verbs_test.cc, which compares what targets answer. Plain data
// and pointers to functions only: what both sides instantiated would be shared, and might be the widest target's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace steelyard::simd {

inline constexpr int kVerbValues = 64;  ///< what verbs of the native width are applied to, kLanes at a time

/// The inputs of verbs, within the ranges that verbs accept. Nothing is at an aligned address.
struct alignas(64) VerbInputs {
  uint8_t off_by_one;
  uint8_t bytes[4][64];
  int8_t codes[64];           ///< a factor of products
  int8_t unsigned_codes[64];  ///< 0 .. 32
  int8_t tiny_codes[64];      ///< -16 .. 16
  int8_t small_codes[64];     ///< -63 .. 63
  int8_t inputs[64];          ///< the other factor: -127 .. 127
  uint8_t nibbles[64];        ///< 0 .. 15
  int8_t nibble_table[16];
  int16_t off_by_two;
  uint16_t halves[3 * kVerbValues];   ///< no signalling NaN
  int16_t pairs[2][2 * kVerbValues];  ///< not -32768
  int32_t off_by_four;
  int32_t words[4][kVerbValues];
  int32_t small_words[2][kVerbValues];  ///< as int16
  int32_t low_words[16];                ///< as int8
  int32_t sums[2][16];                  ///< far from overflow
  float whole[3][kVerbValues];          ///< small whole numbers: fused or not, sums are exact
  float factors[kVerbValues];           ///< other than 0, of any magnitude
  float any[kVerbValues];               ///< all there is, NaN too
  float positive[kVerbValues];          ///< at least 0
  float fractions[kVerbValues];         ///< |v| < 2^22, halves among them
  float codes_as_floats[kVerbValues];   ///< whole numbers of at least 0
  float table[16];
  uint32_t grid_of_four[256];
  uint64_t grid_of_eight[256];
  uint64_t counts[8];  ///< 0 .. 63
  uint64_t integers[4];
};

/// Takes the bytes that a verb answered; what one verb answers several times belongs together.
struct VerbSink {
  void (*append)(void* to, const char* verb, const void* bytes, size_t n);
  void* to;
};

struct VerbProbe {
  int lanes;
  void (*run)(const VerbInputs& in, const VerbSink& sink);
};

}  // namespace steelyard::simd
