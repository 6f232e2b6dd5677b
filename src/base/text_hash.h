// Hashes of keys that come from a file: names, tokens, pieces of text. Every container in src/ that hashes such keys
// uses one of these (tests/base/text_hash_test.cc looks for others).
//
// They depend on a secret that each process draws when it starts. With a hash that everybody can compute, a file could
// hold keys that all have one value, and reading it would take time that grows with their square. So nothing may depend
// on the order of such a container, which differs from run to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace steelyard {

/// SipHash-1-3 (Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF") under the secret of this process.
uint64_t text_hash(std::string_view text);

/// For containers, also of std::string, which then find a string_view without a copy.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return text_hash(text); }
};

/// For numbers that a file determines, such as pairs of tokens. The high bits are the best. Two multiplications by
/// secret numbers: whoever does not know them cannot choose numbers that collide.
class NumberHash {
 public:
  NumberHash();
  uint64_t operator()(uint64_t number) const {
    const uint64_t mixed = (number ^ mask_) * first_;
    return (mixed ^ mixed >> 32) * second_;
  }

 private:
  uint64_t mask_, first_, second_;
};

}  // namespace steelyard
