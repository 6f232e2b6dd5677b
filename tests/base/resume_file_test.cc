// A resume file is read whole and of the same run, or not at all.
#include "base/resume_file.h"

#include <gmock/gmock.h>

#include <random>

#include "base/byte_writer.h"
#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

constexpr ResumeKind kKind{"STEELTST", "a test", "model, text"};

class ResumeFileTest : public testing::Test {
 protected:
  ResumeFile open(const ResumeKind& kind = kKind) const { return {path_, kind, identity_}; }
  void save(uint64_t value) const {
    open().save([&](ResumeFile::Writer& writer) {
      ByteWriter out(writer);
      out.number<uint64_t>(value);
      out.string<uint32_t>("state");
    });
  }
  uint64_t load() const {
    std::optional<ResumeState> state = open().load();
    const auto value = state->content().number<uint64_t>();
    EXPECT_EQ(state->content().string<uint32_t>(), "state");
    state->content().expect_end();
    return value;
  }
  // Not synced, unlike write_file: these tests write many.
  void put(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string error_of_load(const ResumeKind& kind, const std::string& identity) const {
    try {
      ResumeFile(path_, kind, identity).load();
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

TEST_F(ResumeFileTest, NoFileNoState) {
  {
    const ResumeFile file = open();
    EXPECT_FALSE(file.was_there());
    EXPECT_FALSE(file.load().has_value());
    EXPECT_TRUE(std::filesystem::exists(path_)) << "it is held from the beginning";
  }
  EXPECT_FALSE(std::filesystem::exists(path_)) << "and there is nothing to keep";
  ResumeFile none;
  EXPECT_FALSE(none.is_kept());
  EXPECT_FALSE(none.load().has_value());
  none.save([](ResumeFile::Writer&) { FAIL() << "there is nowhere to save"; });
  none.remove();
}

// A run that is killed before its first state leaves an empty file.
TEST_F(ResumeFileTest, AnEmptyFileHasNoState) {
  put("");
  EXPECT_FALSE(open().load().has_value());
}

TEST_F(ResumeFileTest, OneRunAtATime) {
  const auto expect_held = [&] { EXPECT_EQ(test::error_of([&] { open(); }), path_ + ": another run is writing it"); };
  ResumeFile file = open();
  expect_held();
  file.save([](ResumeFile::Writer& writer) { writer.append("one"); });
  expect_held();
  ResumeFile moved = std::move(file);
  moved.save([](ResumeFile::Writer& writer) { writer.append("two"); });
  expect_held();
  moved.remove();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_NO_THROW(open());
}

TEST_F(ResumeFileTest, ReplacesWhatIsDamagedOrOfAnotherRunButNothingElse) {
  constexpr auto kReplace = ResumeFile::Unusable::kReplace;
  save(1);
  EXPECT_TRUE(open().load(kReplace).has_value());
  EXPECT_FALSE(ResumeFile(path_, kKind, std::string(kSha256Digits, 'b')).load(kReplace).has_value());
  put(test::read_text(path_) + "x");
  EXPECT_FALSE(open().load(kReplace).has_value());
  put("my notes");
  EXPECT_THROW(open().load(kReplace), Error);
  EXPECT_EQ(test::read_text(path_), "my notes");
}

TEST_F(ResumeFileTest, TheLastStateCounts) {
  save(1);
  save(2);
  EXPECT_EQ(load(), 2u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / ""), {}), 1);
}

TEST_F(ResumeFileTest, WithoutFinishTheOldOneStays) {
  save(1);
  EXPECT_THROW(open().save([](ResumeFile::Writer& writer) {
    writer.append("half");
    throw Error("", "stop");
  }),
               Error);
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
    if (at == 0) continue;
    put(whole.substr(0, at));
    EXPECT_NE(error_of_load(kKind, identity_), "") << at;
  }
}

TEST_F(ResumeFileTest, RandomBytes) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(1 + random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.insert(0, kKind.magic);
    put(bytes);
    EXPECT_NE(error_of_load(kKind, identity_), "");
  }
}

// A state that does not fit its own checksum's promise: written by a program with another layout.
TEST_F(ResumeFileTest, AStateThatEndsTooEarlyIsDamage) {
  open().save([](ResumeFile::Writer& writer) { ByteWriter(writer).number<uint32_t>(1); });
  std::optional<ResumeState> opened = open().load();
  try {
    opened->content().number<uint64_t>();
    FAIL() << "read 8 bytes of 4";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("progress: is damaged: needs 8 bytes"));
  }
}

}  // namespace
}  // namespace steelyard
