// Documents of any size: what is refused, and that walking over them says what a tree says.
#include "json/document.h"

#include <gmock/gmock.h>

#include <string>

#include "base/error.h"
#include "growth.h"

namespace steelyard::json {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    parse_document(text, "a.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The tree of a value, made by walking.
Json walked(const Value& value) {
  if (value.is(Value::Kind::kObject)) {
    Json tree = Json::object();
    value.for_each_member([&](std::string_view name, Value member) { tree[std::string(name)] = walked(member); });
    return tree;
  }
  if (value.is(Value::Kind::kArray)) {
    Json tree = Json::array();
    value.for_each_element([&](Value element) { tree.push_back(walked(element)); });
    return tree;
  }
  if (const auto text = value.string()) return *text;
  if (const auto integer = value.integer()) return *integer;
  if (const auto number = value.number()) return *number;
  if (const auto boolean = value.boolean()) return *boolean;
  EXPECT_TRUE(value.is(Value::Kind::kNull));
  return nullptr;
}

TEST(Document, WalkingGivesTheTree) {
  for (const char* text :
       {R"({})", R"([])", R"(  7 )", R"("x")", R"(null)", R"( { "a" : [ 1 , -2.5e3, true,false , null, "q\"\\", [] ] ,
         "b\n\u0120\ud83d\ude00":{"c":{},"]}":"[{" } } )",
        R"([[[1],[2]],[{"a":"\\"},"\"",{"b":[]}]])", "[1\n,2\t]", "\xEF\xBB\xBF[1]"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(walked(parse_document(text, "a.json")), Json::parse(text));
  }
}

TEST(Document, KindsAndWhatDoesNotFit) {
  const std::string text = R"({"n": 12, "big": 9223372036854775808, "real": 1.5, "s": "1", "n": 13})";
  const Value document = parse_document(text, "a.json");
  EXPECT_EQ(document.find("n")->integer(), 13);  // the last one
  EXPECT_EQ(document.find("big")->integer(), std::nullopt);
  EXPECT_EQ(document.find("real")->integer(), std::nullopt);
  EXPECT_EQ(document.find("real")->number(), 1.5);
  EXPECT_EQ(document.find("s")->integer(), std::nullopt);
  EXPECT_EQ(document.find("s")->number(), std::nullopt);
  EXPECT_EQ(document.find("n")->string(), std::nullopt);
  EXPECT_EQ(document.find("s")->kind_name(), "a string");
  EXPECT_FALSE(document.find("none"));
  EXPECT_FALSE(document.find("n")->find("x"));
}

TEST(Document, RefusedInOneLine) {
  for (const std::string text : {"", " ", "{", "[1", "[1,]", "{\"a\":}", "{\"a\" 1}", "nul", "01", "\"\xff\"", "1 2",
                                 "\"\\ud800\"", "\"a", "1e999", "'a'", "{\"a\":1}\n}", "\xEF\xBB\xBF"}) {
    SCOPED_TRACE(text);
    EXPECT_THAT(refusal(text), HasSubstr("a.json: no JSON at byte "));
    EXPECT_EQ(refusal(text).find('\n'), std::string::npos);
  }
  EXPECT_THAT(refusal("[1, x]"), HasSubstr("at byte 5"));
  EXPECT_EQ(refusal(std::string(32, '[') + std::string(32, ']')), "");
  EXPECT_EQ(refusal(std::string(33, '[') + std::string(33, ']')), "a.json: found JSON of more than 32 levels");
  EXPECT_EQ(refusal(std::string(1'000'000, '[')), "a.json: found JSON of more than 32 levels");
}

TEST(Document, TimeGrowsWithTheText) {
  const auto document = [](size_t n) {
    std::string text = "{\"vocab\":{";
    for (size_t i = 0; i < n; ++i) text += "\"\\u0120" + std::to_string(i) + "\":" + std::to_string(i) + ",";
    return text + "\"\":0}}";
  };
  const double growth = test::growth(4000, document, [](const std::string& text) {
    int64_t sum = 0;
    parse_document(text, "a.json").find("vocab")->for_each_member([&](std::string_view, Value value) {
      sum += *value.integer();
    });
    EXPECT_GT(sum, 0);
  });
  EXPECT_LT(growth, test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::json
