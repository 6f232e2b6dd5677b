// Keys of 16 bytes that all have the same std::hash in libstdc++ for 64 bits: its hash is MurmurHash64A (Appleby) with
// a seed that everybody knows, and each of its steps can be taken back.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace steelyard::test {

inline std::vector<std::string> colliding_keys(size_t n) {
  constexpr uint64_t kMul = (uint64_t{0xC6A4A793} << 32) + 0x5BD1E995, kSeed = 0xC70F6907, kTarget = 12345;
  uint64_t inverse = 1;  // of kMul modulo 2^64, by Newton's iteration
  for (int i = 0; i < 6; ++i) inverse *= 2 - kMul * inverse;
  const auto mix = [](uint64_t v) { return v ^ v >> 47; };  // its own inverse
  const uint64_t begin = kSeed ^ 16 * kMul;
  std::vector<std::string> keys;
  for (uint64_t i = 1; keys.size() < n; ++i) {
    uint64_t words[2] = {i * 0x9E3779B97F4A7C15, 0};
    const uint64_t state = (begin ^ mix(words[0] * kMul) * kMul) * kMul;
    words[1] = mix((kTarget * inverse ^ state) * inverse) * inverse;
    std::string key(sizeof(words), '\0');
    std::memcpy(key.data(), words, sizeof(words));
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace steelyard::test
