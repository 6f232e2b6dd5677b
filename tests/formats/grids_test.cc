// The codebooks against fingerprints of their published values. Reference blocks touch only some of the codewords; this
// covers all of them.
#include "formats/grids.h"

#include <bit>
#include <span>

#include "support.h"

namespace steelyard::formats {
namespace {

/// FNV-1a, 64 bits, over the values of the codewords in order; the expected numbers were computed with it from the
/// unpacked arrays of gguf/quants.py.
template <typename Word>
uint64_t fingerprint(const Word* codewords, size_t n) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte byte : std::as_bytes(std::span(codewords, n))) {
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  }
  return hash;
}

TEST(Grids, AreThePublishedOnes) {
  EXPECT_EQ(fingerprint(iq1_grid(), 2048), 0x6703ed863501ae2eu);
  EXPECT_EQ(fingerprint(iq2_xxs_grid(), 256), 0xbb4ee025b5ac6e8eu);
  EXPECT_EQ(fingerprint(iq2_xs_grid(), 512), 0xc9b1ee61e79909bdu);
  EXPECT_EQ(fingerprint(iq2_s_grid(), 1024), 0x123edd38a3b62b90u);
  EXPECT_EQ(fingerprint(iq3_xxs_grid(), 256), 0xdfa5dc83d6a155d5u);
  EXPECT_EQ(fingerprint(iq3_s_grid(), 512), 0xfa37020c25b44829u);
}

TEST(Grids, SignsAreEven) {
  for (uint32_t index = 0; index < 128; ++index) {
    EXPECT_EQ(even_signs(index) & 127u, index);
    EXPECT_EQ(std::popcount(even_signs(index)) % 2, 0);
  }
}

TEST(Grids, EverySignGoesToItsValue) {
  const uint64_t magnitudes = 0x7F3E2B1908040201u;
  for (uint32_t signs = 0; signs < 256; ++signs) {
    int8_t q[8];
    store_signed(magnitudes, static_cast<uint8_t>(signs), q);
    for (int i = 0; i < 8; ++i) {
      const int magnitude = static_cast<int>((magnitudes >> (8 * i)) & 0xFF);
      EXPECT_EQ(q[i], ((signs >> i) & 1) != 0 ? -magnitude : magnitude) << signs << " " << i;
    }
  }
}

}  // namespace
}  // namespace steelyard::formats
