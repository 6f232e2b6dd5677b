// Grows by what is appended, is held by one run, and goes when it says nothing.
#include "base/log_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "error_of.h"
#include "support.h"

namespace steelyard {
namespace {

class LogFileTest : public testing::Test {
 protected:
  const test::TempFolder folder_;
  const std::string path_ = folder_ / "log";
};

TEST_F(LogFileTest, AppendsAfterWhatIsKept) {
  write_file(path_, "one\ntwo\ntor");
  LogFile log(path_, "target");
  EXPECT_FALSE(log.was_created());
  EXPECT_EQ(log.content(), "one\ntwo\ntor");
  log.cut(4);
  log.append("2\n");
  log.append("3\n");
  EXPECT_EQ(log.content(), "one\n2\n3\n");
}

TEST_F(LogFileTest, OneAtATime) {
  LogFile log(path_, "target");
  EXPECT_TRUE(log.was_created());
  EXPECT_EQ(test::error_of([&] { LogFile(path_, "target"); }), "target: another run is writing it");
  log.remove();
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_NO_THROW(LogFile(path_, "target"));
}

TEST_F(LogFileTest, GoesWhileItIsWorthless) {
  { LogFile(path_, "target").set_worthless(); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    LogFile log(path_, "target");
    log.set_worthless();
    log.set_worthless();
    EXPECT_TRUE(std::filesystem::exists(path_));
    log.append("something");
    log.set_worth_keeping();
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(LogFileTest, ALockLeavesNothingAndTouchesNothing) {
  {
    const LockFile lock(path_, "target");
    EXPECT_EQ(test::error_of([&] { LockFile(path_, "target"); }), "target: another run is writing it");
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  write_file(path_, "somebody's");
  { const LockFile lock(path_, "target"); }
  EXPECT_EQ(test::read_text(path_), "somebody's");
}

}  // namespace
}  // namespace steelyard
