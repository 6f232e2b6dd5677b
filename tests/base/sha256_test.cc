// The hash against the examples of FIPS 180-2, appendix B, and in pieces against the whole.
#include "base/sha256.h"

#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PiecesGiveTheHashOfTheWhole) {
  const std::string text(1000, 'x');
  for (const size_t step : {1, 63, 64, 65, 999}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += step) hash.update(text.substr(at, step));
    EXPECT_EQ(hash.hex(), sha256(text)) << step;
  }
}

TEST(Sha256Test, OfAFile) {
  const test::TempFolder folder;
  write_file(folder / "abc", "abc");
  write_file(folder / "empty", "");
  EXPECT_EQ(sha256_of_file(folder / "abc"), sha256("abc"));
  EXPECT_EQ(sha256_of_file(folder / "empty"), sha256(""));
  EXPECT_THROW(sha256_of_file(folder / "absent"), Error);
}

}  // namespace
}  // namespace steelyard
