// The text of JSON: UTF-8 without controls, whatever the strings in it are.
#include "json/json.h"

#include <gtest/gtest.h>

#include <string>

namespace steelyard::json {
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

TEST(ParseJson, BoundsNamesOfAnObjectAndLevels) {
  std::string objects = "[", names = "{";
  for (int i = 0; i < 1001; ++i) {
    objects += R"({"role": "user", "content": "a: b"},)";
    names += "\"" + std::to_string(i) + "\":0,";
  }
  objects.back() = ']';
  names.back() = '}';
  EXPECT_EQ(parse_json(objects).size(), 1001);
  EXPECT_TRUE(parse_json(names).is_discarded());
  EXPECT_FALSE(parse_json("[[1]]", 2).is_discarded());
  EXPECT_TRUE(parse_json("[[[1]]]", 2).is_discarded());
  EXPECT_TRUE(parse_json("]]]}").is_discarded());
  EXPECT_TRUE(parse_json("{\"a\"").is_discarded());
}

}  // namespace
}  // namespace steelyard::json
