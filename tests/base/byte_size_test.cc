// Sizes of memory on the command line: what is understood, and that everything else is refused in one line.
#include "base/byte_size.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/error.h"

namespace steelyard {
namespace {

TEST(ByteSize, Units) {
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("1000000"), 1000000u);
  EXPECT_EQ(parse_bytes("17 b"), 17u);
  EXPECT_EQ(parse_bytes("24GiB"), uint64_t{24} << 30);
  EXPECT_EQ(parse_bytes("24gib"), uint64_t{24} << 30);
  EXPECT_EQ(parse_bytes(" 23.5 GiB "), uint64_t{47} << 29);
  EXPECT_EQ(parse_bytes("16GB"), 16'000'000'000u);
  EXPECT_EQ(parse_bytes("16G"), 16'000'000'000u);
  EXPECT_EQ(parse_bytes("3kB"), 3000u);
  EXPECT_EQ(parse_bytes("3KiB"), 3072u);
  EXPECT_EQ(parse_bytes("2TiB"), uint64_t{2} << 40);
}

TEST(ByteSize, Lists) {
  const uint64_t large = uint64_t{24} << 30, small = uint64_t{16} << 30;
  EXPECT_EQ(parse_byte_list("24GiB"), std::vector<uint64_t>{large});
  EXPECT_EQ(parse_byte_list("24GiB\xC3\x97"
                            "6"),
            std::vector<uint64_t>(6, large));
  EXPECT_EQ(parse_byte_list("24GiBx6"), std::vector<uint64_t>(6, large));
  EXPECT_EQ(parse_byte_list("24GiB*2, 16 GiB"), (std::vector<uint64_t>{large, large, small}));
  EXPECT_EQ(parse_byte_list("16GiB,24GiB x 1"), (std::vector<uint64_t>{small, large}));
  EXPECT_EQ(parse_byte_list("1kx1024").size(), 1024u);
}

TEST(ByteSize, RefusesTheRest) {
  for (const char* text : {"",
                           " ",
                           "GiB",
                           "24 Gibibytes",
                           "24GiB6",
                           "-1GiB",
                           "nan",
                           "inf",
                           "1e99",
                           "2000000TiB",
                           "24GiBx",
                           "24GiBx0",
                           "24GiBx-1",
                           "24GiBx6x2",
                           "24GiB,",
                           ",24GiB",
                           "1kx1025",
                           "1kx1000,1kx25",
                           "1kx99999999999999999999",
                           "24GiB\xC3",
                           "\xC3\x97"}) {
    EXPECT_THROW(parse_byte_list(text), Error) << text;
  }
}

// Whatever comes is a list of sizes or an Error of one line.
TEST(ByteSize, AnyText) {
  std::mt19937 random(1);
  const std::string alphabet = "0123456789.,xX*GMKTiB \xC3\x97-e\n";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += alphabet[random() % alphabet.size()];
    try {
      const std::vector<uint64_t> sizes = parse_byte_list(text);
      EXPECT_TRUE(!sizes.empty() && sizes.size() <= 1024) << text;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace steelyard
