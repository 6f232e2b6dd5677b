// The journal accepts only what was written completely: cut and damaged at every byte.
#include "quantize/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using testing::HasSubstr;

const RunIdentity kIdentity = {{"version", "1"}, {"plan", "* = Q8_0 = x"}, {"imatrix", ""}};

TensorHashes hashes(int i) { return {sha256("source" + std::to_string(i)), sha256("result" + std::to_string(i))}; }

class JournalTest : public testing::Test {
 protected:
  // A journal of three tensors, as a killed run leaves it.
  std::string written(bool complete = false) {
    Journal journal(path_, "target");
    journal.begin(kIdentity);
    journal.append(std::vector{hashes(0), hashes(1)});
    journal.append(std::vector{hashes(2)});
    if (complete) journal.append_complete();
    return read_file(path_);
  }

  test::TempFolder folder_;
  const std::string path_ = folder_ / "out.journal";
};

// `found` is what the first lines of the journal say, and no more.
void expect_prefix(const JournalContent& found, const std::string& context) {
  if (!found.identity.empty()) {
    EXPECT_EQ(found.identity, kIdentity) << context;
  }
  ASSERT_LE(found.tensors.size(), 3u) << context;
  for (size_t i = 0; i < found.tensors.size(); ++i) EXPECT_EQ(found.tensors[i], hashes(static_cast<int>(i))) << context;
  if (!found.tensors.empty()) {
    EXPECT_EQ(found.identity, kIdentity) << context;
  }
  if (found.complete) {
    EXPECT_EQ(found.tensors.size(), 3u) << context;
  }
}

TEST_F(JournalTest, ReadsWhatItWrote) {
  const JournalContent found = parse_journal(written(/*complete=*/true));
  EXPECT_EQ(found.identity, kIdentity);
  EXPECT_EQ(found.tensors, (std::vector{hashes(0), hashes(1), hashes(2)}));
  EXPECT_TRUE(found.complete);
  EXPECT_FALSE(found.damaged);
}

TEST_F(JournalTest, CutAtEveryByte) {
  const std::string text = written(/*complete=*/true);
  size_t last = 0;
  for (size_t n = 0; n < text.size(); ++n) {
    const JournalContent found = parse_journal(text.substr(0, n));
    expect_prefix(found, "cut at " + std::to_string(n));
    EXPECT_FALSE(found.complete);
    EXPECT_FALSE(found.damaged) << "a torn end is no damage: cut at " << n;
    EXPECT_GE(found.tensors.size(), last);
    last = found.tensors.size();
  }
  EXPECT_EQ(last, 3u);
}

TEST_F(JournalTest, DamagedAtEveryByte) {
  const std::string text = written(/*complete=*/true);
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char bit : {1, 16, 127}) {
      std::string damaged = text;
      damaged[i] = static_cast<char>(damaged[i] ^ bit);
      const JournalContent found = parse_journal(damaged);
      expect_prefix(found, "damaged at " + std::to_string(i));
      EXPECT_LE(found.n_bytes, i) << "a damaged line was believed";
    }
  }
}

TEST_F(JournalTest, LinesOfAnotherPlaceAreNotBelieved) {
  const std::string text = written();
  const size_t last = text.rfind('\n', text.size() - 2) + 1, second = text.rfind('\n', last - 2) + 1;
  const std::string lines[] = {text.substr(second, last - second), text.substr(last)};
  EXPECT_EQ(parse_journal(text.substr(0, second) + lines[1]).tensors.size(), 1u) << "one left out";
  EXPECT_EQ(parse_journal(text.substr(0, second) + lines[1] + lines[0]).tensors.size(), 1u) << "two swapped";
  EXPECT_EQ(parse_journal(text + lines[1]).tensors.size(), 3u) << "one twice";
  EXPECT_TRUE(parse_journal("what is this\nfile\n").identity.empty());
  EXPECT_TRUE(parse_journal("what is this\nfile\n").damaged);
}

TEST_F(JournalTest, GoesOnAfterATornLine) {
  const std::string whole = written();
  const std::string torn = whole.substr(0, whole.size() - 10);
  write_file(path_, torn);
  {
    Journal journal(path_, "target");
    ASSERT_EQ(journal.content().tensors.size(), 2u);
    journal.resume();
    journal.append(std::vector{hashes(2)});
  }
  EXPECT_EQ(read_file(path_), whole);
}

TEST_F(JournalTest, BeginningAnewForgetsEverything) {
  written(/*complete=*/true);
  {
    Journal journal(path_, "target");
    journal.begin({{"version", "2"}});
    journal.append(std::vector{hashes(0)});
  }
  const JournalContent found = parse_journal(read_file(path_));
  EXPECT_EQ(found.identity, (RunIdentity{{"version", "2"}}));
  EXPECT_EQ(found.tensors.size(), 1u);
}

TEST_F(JournalTest, OnlyOneAtATime) {
  Journal journal(path_, "target");
  journal.begin(kIdentity);
  try {
    Journal second(path_, "target");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "target: another run is writing it");
  }
  EXPECT_EQ(journal.content().identity, kIdentity);
  EXPECT_TRUE(std::filesystem::exists(path_)) << "the second run removed the journal of the first";
}

TEST_F(JournalTest, LeavesNothingThatVouchesForNothing) {
  {
    Journal journal(path_, "target");
    EXPECT_TRUE(std::filesystem::exists(path_));
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  { Journal(path_, "target").begin(kIdentity); }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JournalTest, AForeignFileStays) {
  for (const char* text : {"my diary\ndear diary\n", "my diary", "one line\n", "\n"}) {
    write_file(path_, text);
    EXPECT_EQ(test::error_of([&] { Journal(path_, "target"); }),
              path_ + ": is not a journal of this program; move it away to begin");
    EXPECT_EQ(read_file(path_), text);
  }
}

TEST_F(JournalTest, ATornFirstLineIsOfThisProgram) {
  const std::string whole = written(/*complete=*/false);
  for (size_t n = 0; n <= whole.find('\n') + 1; ++n) {
    write_file(path_, whole.substr(0, n));
    EXPECT_NO_THROW(Journal(path_, "target")) << n;
    write_file(path_, whole.substr(0, n) + std::string(500, '\0'));  // a power cut
    EXPECT_NO_THROW(Journal(path_, "target")) << n;
  }
}

}  // namespace
}  // namespace steelyard::quantize
