// ByteReader reads what ByteWriter wrote, and nothing else: bytes cut anywhere and random bytes end in an Error that
// names the file, never in a read past the end or in memory that the bytes do not justify.
#include "base/byte_reader.h"

#include <gmock/gmock.h>

#include <random>

#include "base/byte_writer.h"
#include "error_of.h"

namespace steelyard {
namespace {

using testing::ElementsAre;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

using test::error_of;

// One of everything, in little-endian order.
std::string written() {
  std::string text;
  ByteWriter out(text);
  out.text("MAGIC");
  out.number<uint8_t>(200);
  out.number<int16_t>(-2);
  out.number<uint32_t>(0x01020304);
  out.number<int64_t>(-5);
  out.number<float>(0.5f);
  out.number<double>(-0.25);
  out.string<uint64_t>("long");
  out.string<int32_t>("");
  const std::vector<float> values = {1, 2, 3};
  out.number<uint64_t>(values.size());
  out.values(std::span<const float>(values));
  return text;
}

void read_all(ByteReader& in) {
  EXPECT_EQ(in.text(5), "MAGIC");
  EXPECT_EQ(in.number<uint8_t>(), 200);
  EXPECT_EQ(in.number<int16_t>(), -2);
  EXPECT_EQ(in.number<uint32_t>(), 0x01020304u);
  EXPECT_EQ(in.number<int64_t>(), -5);
  EXPECT_EQ(in.number<float>(), 0.5f);
  EXPECT_EQ(in.number<double>(), -0.25);
  EXPECT_EQ(in.string<uint64_t>(), "long");
  EXPECT_EQ(in.string<int32_t>(), "");
  EXPECT_THAT(in.values<float>(in.number<uint64_t>()), ElementsAre(1, 2, 3));
  in.expect_end();
}

TEST(ByteReader, ReadsWhatWasWritten) {
  const std::string text = written();
  EXPECT_EQ(text.substr(8, 4), "\x04\x03\x02\x01");
  ByteReader in(bytes_of(text), "file");
  read_all(in);
  EXPECT_TRUE(in.at_end());
  EXPECT_EQ(in.position(), text.size());
}

TEST(ByteReader, WhatIsCutAnywhereIsAnError) {
  const std::string text = written();
  for (size_t n = 0; n < text.size(); ++n) {
    const std::string cut = text.substr(0, n);  // a copy of its own: reading past its end is seen by sanitizers
    ByteReader in(bytes_of(cut), "some/file");
    EXPECT_THAT(error_of([&] { read_all(in); }), testing::StartsWith("some/file: needs ")) << n;
  }
}

TEST(ByteReader, ErrorsSayWhatWasReadAndWhere) {
  const std::string text = "12345678";
  ByteReader in(bytes_of(text), "file");
  EXPECT_EQ(error_of([&] { in.bytes(9); }), "file: needs 9 bytes at offset 0, found 8");
  in.set_subject("key 'a'");
  in.bytes(3);
  EXPECT_EQ(error_of([&] { in.number<uint64_t>(); }), "file: key 'a': needs 8 bytes at offset 3, found 5");
  EXPECT_EQ(error_of([&] { in.reject("found {}, expected less", 7); }), "file: key 'a': found 7, expected less");
  EXPECT_EQ(error_of([&] { in.expect_end(); }), "file: key 'a': found 5 bytes after the end, expected none");
  EXPECT_EQ(error_of([&] { in.seek(9); }), "file: key 'a': found offset 9, expected at most 8");
  EXPECT_EQ(in.position(), 3u);  // a failure takes nothing
  in.seek(8);
  in.expect_end();
}

TEST(ByteReader, NumbersWithinBounds) {
  std::string text;
  ByteWriter out(text);
  for (const int value : {-1, 0, 3, 4}) out.number<int32_t>(value);
  out.number<float>(std::numeric_limits<float>::quiet_NaN());
  ByteReader in(bytes_of(text), "file");
  EXPECT_EQ(error_of([&] { in.number<int32_t>(0); }), "file: found -1, expected at least 0");
  EXPECT_EQ(in.number<int32_t>(0, 3), 0);
  EXPECT_EQ(in.number<int32_t>(0, 3), 3);
  EXPECT_EQ(error_of([&] { in.number<int32_t>(0, 3); }), "file: found 4, expected 0 to 3");
  EXPECT_NE(error_of([&] { in.number<float>(0.0f, 1.0f); }), "");
}

TEST(ByteReader, ALengthIsComparedBeforeItIsUsed) {
  std::string text;
  ByteWriter out(text);
  out.number<int64_t>(-1);
  out.number<uint64_t>(uint64_t(-1));
  out.number<uint64_t>((uint64_t(1) << 61) + 1);  // times 8 it is 8
  ByteReader in(bytes_of(text), "file");
  EXPECT_EQ(error_of([&] { in.string<int64_t>(); }), "file: found -1, expected at least 0");
  EXPECT_NE(error_of([&] { in.string<uint64_t>(); }), "");
  EXPECT_NE(error_of([&] { in.values<double>((uint64_t(1) << 61) + 1); }), "");
  EXPECT_NE(error_of([&] { in.values<char>(uint64_t(-1)); }), "");
}

TEST(ByteReader, NothingOfNothing) {
  ByteReader in({}, "file");
  EXPECT_TRUE(in.values<int>(0).empty());
  EXPECT_EQ(in.text(0), "");
  in.expect_end();
}

// Random requests on random bytes: each is served from where the last one ended, or an Error that changes nothing.
TEST(ByteReader, RandomRequestsOnRandomBytes) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 64, '\0');
    // Small bytes, so that some lengths fit.
    for (char& byte : text) byte = static_cast<char>(random() % 4 == 0 ? random() % 256 : random() % 3);
    ByteReader in(bytes_of(text), "fuzzed");
    for (int request = 0; request < 12; ++request) {
      const uint64_t before = in.position();
      const uint64_t n = random() % 8 == 0 ? random() : random() % 24;
      const auto kind = random() % 7;
      std::string_view got;
      const std::string error = error_of([&] {
        if (kind == 0) got = in.text(n);
        if (kind == 1) in.number<uint32_t>(), got = in.since(before);
        if (kind == 2) got = in.string<uint8_t>();
        if (kind == 3) got = in.string<uint64_t>();
        if (kind == 4) in.values<uint16_t>(n);
        if (kind == 5) in.seek(n);
        if (kind == 6) got = in.string<int32_t>(1);
      });
      ASSERT_LE(in.position(), text.size());
      ASSERT_EQ(in.position() + in.remaining(), text.size());
      if (!error.empty()) {
        ASSERT_THAT(error, testing::StartsWith("fuzzed: "));
        ASSERT_TRUE(in.position() - before < 9) << "a length may have been read, no more";
      } else if (kind == 0 || kind == 2 || kind == 3 || kind == 6) {
        ASSERT_EQ(got, text.substr(in.position() - got.size(), got.size()));
      }
    }
  }
}

}  // namespace
}  // namespace steelyard
