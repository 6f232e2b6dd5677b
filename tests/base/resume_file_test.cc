// A resume file is read whole and of the same run, or not at all.
#include "base/resume_file.h"

#include <gmock/gmock.h>

#include <random>

#include "base/byte_writer.h"
#include "base/error.h"
#include "support.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

constexpr ResumeKind kKind{"STEELTST", "a test", "model, text"};

class ResumeFileTest : public testing::Test {
 protected:
  void save(uint64_t value) const {
    ResumeFileWriter file(path_, kKind, identity_);
    ByteWriter out(file);
    out.number<uint64_t>(value);
    out.string<uint32_t>("state");
    file.finish();
  }
  uint64_t load() const {
    std::optional<ResumeFile> file = ResumeFile::open(path_, kKind, identity_);
    const auto value = file->state().number<uint64_t>();
    EXPECT_EQ(file->state().string<uint32_t>(), "state");
    file->state().expect_end();
    return value;
  }
  // Not synced, unlike write_file: these tests write many.
  void put(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string error_of_load(const ResumeKind& kind, const std::string& identity) const {
    try {
      ResumeFile::open(path_, kind, identity);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::StartsWith(path_ + ": "));
      return error.what();
    }
    return "";
  }

  const test::TempFolder folder_;
  const std::string path_ = folder_ / "progress";
  const std::string identity_ = std::string(kSha256Digits, 'a');
};

TEST_F(ResumeFileTest, NoFileNoState) { EXPECT_FALSE(ResumeFile::open(path_, kKind, identity_).has_value()); }

TEST_F(ResumeFileTest, TheLastStateCounts) {
  save(1);
  save(2);
  EXPECT_EQ(load(), 2u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / ""), {}), 1);
}

TEST_F(ResumeFileTest, WithoutFinishTheOldOneStays) {
  save(1);
  ResumeFileWriter(path_, kKind, identity_).append("half");
  EXPECT_EQ(load(), 1u);
}

TEST_F(ResumeFileTest, TheLayout) {
  save(7);
  const std::string content = "STEELTST" + identity_ + std::string("\7\0\0\0\0\0\0\0\5\0\0\0state", 17);
  EXPECT_EQ(test::read_text(path_), content + sha256(content));
}

TEST_F(ResumeFileTest, AnotherKindAndAnotherRun) {
  save(1);
  EXPECT_THAT(error_of_load({"STEELXXX", "a test", ""}, identity_), HasSubstr("is not the progress of a test"));
  EXPECT_THAT(error_of_load(kKind, std::string(kSha256Digits, 'b')),
              HasSubstr("another model, text or other settings; delete it"));
}

TEST_F(ResumeFileTest, CutOrChangedAnywhere) {
  save(1);
  const std::string whole = test::read_text(path_);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    put(changed);
    EXPECT_THAT(error_of_load(kKind, identity_), HasSubstr(at < 8 ? "is not the progress" : "is damaged")) << at;
    put(whole.substr(0, at));
    EXPECT_NE(error_of_load(kKind, identity_), "") << at;
  }
}

TEST_F(ResumeFileTest, RandomBytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.insert(0, kKind.magic);
    put(bytes);
    EXPECT_NE(error_of_load(kKind, identity_), "");
  }
}

// A state that does not fit its own checksum's promise: written by a program with another layout.
TEST_F(ResumeFileTest, AStateThatEndsTooEarlyIsDamage) {
  ResumeFileWriter file(path_, kKind, identity_);
  ByteWriter(file).number<uint32_t>(1);
  file.finish();
  std::optional<ResumeFile> opened = ResumeFile::open(path_, kKind, identity_);
  try {
    opened->state().number<uint64_t>();
    FAIL() << "read 8 bytes of 4";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("progress: is damaged: needs 8 bytes"));
  }
}

}  // namespace
}  // namespace steelyard
