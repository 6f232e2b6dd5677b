// The text of JSON: UTF-8 without controls, whatever the strings in it are.
#include "jobs/json.h"

#include <gtest/gtest.h>

namespace steelyard::jobs {
namespace {

TEST(JsonText, IsTheObject) {
  const Json json = {{"a", {1, 2.5, nullptr, true}}, {"é", "中 \"quoted\" \\"}};
  for (const int indent : {-1, 0, 1, 4}) {
    EXPECT_EQ(json_text(json, indent), json.dump(indent));
    EXPECT_EQ(Json::parse(json_text(json, indent)), json);
  }
}

TEST(JsonText, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_EQ(json_text("caf\xe9"), "\"caf\uFFFD\"");
  EXPECT_EQ(Json::parse(json_text({{"\xff", "\xc3"}})), Json({{"\uFFFD", "\uFFFD"}}));
}

TEST(JsonText, ControlsAreEscaped) {
  EXPECT_EQ(json_text("\x1b[0m\x7f"), "\"\\u001b[0m\\u007f\"");
  EXPECT_EQ(json_text("a\u009b31m\u0080\u009f\u00a0"), "\"a\\u009b31m\\u0080\\u009f\u00a0\"");
  const std::string text = "\u009b\x7f\x01";
  EXPECT_EQ(Json::parse(json_text(text)).get<std::string>(), text);
}

}  // namespace
}  // namespace steelyard::jobs
