// Answers as models of each format write them, whole and in pieces.
#include "chat/answer_parser.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "chat/small_chat.h"
#include "chat/template.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::chat {
namespace {

const Json kTools =
    Json::parse(R"([{"type": "function", "function": {"name": "weather", "description": "", "parameters": {
  "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}, "sure": {"type": "boolean"},
  "more": {"type": "object"}, "any": {}, "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}}])");

const AnswerFormat& format(std::string_view name) {
  for (const AnswerFormat* one : AnswerFormat::all()) {
    if (one->name == name) return *one;
  }
  ADD_FAILURE() << name;
  return *AnswerFormat::all()[0];
}

Answer parse(const AnswerFormat& format, std::string_view text, size_t piece, std::string_view prompt = "",
             const Json& tools = kTools) {
  AnswerParser parser(format, tools, prompt, /*id_seed=*/1);
  Answer answer;
  for (size_t i = 0; i < text.size(); i += piece) answer.add(parser.push(text.substr(i, piece)));
  answer.add(parser.finish());
  return answer;
}

// "reasoning | content | name(arguments) ..."
std::string parsed(std::string_view name, std::string_view text, std::string_view prompt = "",
                   const Json& tools = kTools) {
  std::string first;
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, text.size() + 1}) {
    const Answer answer = parse(format(name), text, piece, prompt, tools);
    std::string shown = answer.reasoning + " | " + answer.content + " |";
    for (const ToolCall& call : answer.calls) {
      shown += " " + call.name + "(" + call.arguments + ")";
      EXPECT_TRUE(parse_json(call.arguments).is_object());
      EXPECT_FALSE(call.id.empty());
    }
    if (first.empty()) first = shown;
    EXPECT_EQ(shown, first) << "in pieces of " << piece;
  }
  return first;
}

TEST(AnswerParserTest, Reasoning) {
  EXPECT_EQ(parsed("plain", "<think>\nso\n</think>\n\nyes\n"), "so | yes\n |");
  EXPECT_EQ(parsed("plain", "\n <think></think>yes"), " | yes |");
  EXPECT_EQ(parsed("plain", "so\n</think>\nyes", "<|im_start|>assistant\n<think>\n"), "so | yes |");
  EXPECT_EQ(parsed("plain", "yes", "<|im_start|>assistant\n<think>\n\n</think>\n\n"), " | yes |");
  EXPECT_EQ(parsed("plain", "so it", "<think>"), "so it |  |");
  EXPECT_EQ(parsed("plain", " yes, <think> is a tag </think> "), " |  yes, <think> is a tag </think>  |");
  EXPECT_EQ(parsed("plain", "<thin"), " | <thin |");
  EXPECT_EQ(parsed("plain", "<think>a </thin b</think>"), "a </thin b |  |");
  EXPECT_EQ(parsed("plain", ""), " |  |");
  EXPECT_EQ(parsed("plain", "  "), " |    |");
}

TEST(AnswerParserTest, Hermes) {
  EXPECT_EQ(
      parsed("hermes",
             "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": \"Oslo\"}}\n</tool_call>"),
      " | Let me see. | weather({\"place\":\"Oslo\"})");
  EXPECT_EQ(parsed("hermes",
                   "<think>x</think>\n\n<tool_call>{\"name\":\"a\",\"arguments\":{}}</"
                   "tool_call>\n<tool_call>{\"name\":\"b\",\"arguments\":\"{}\"}</tool_call>\n"),
            "x |  | a({}) b({})");
  // The end of generation closes it as well.
  EXPECT_EQ(parsed("hermes", "<tool_call>{\"name\":\"a\",\"arguments\":{}}"), " |  | a({})");
  EXPECT_EQ(parsed("hermes", "<tool_call>{\"name\":\"a\",\"argum"), " | <tool_call>{\"name\":\"a\",\"argum |");
  EXPECT_EQ(parsed("hermes", "<tool_call>none</tool_call> x"), " | <tool_call>none</tool_call> x |");
  EXPECT_EQ(parsed("hermes", "<tool_call>[1]</tool_call>"), " | <tool_call>[1]</tool_call> |");
  // Nobody has given tools.
  EXPECT_EQ(parsed("hermes", "<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>", "", nullptr),
            " | <tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call> |");
}

TEST(AnswerParserTest, FunctionTagsAreTypedByTheSchema) {
  EXPECT_EQ(
      parsed(
          "qwen3-coder",
          "<tool_call>\n<function=weather>\n<parameter=place>\n12\n</parameter>\n<parameter=days>\n12\n</parameter>\n"
          "<parameter=sure>\nTrue\n</parameter>\n<parameter=more>\n{\"a\": [1]}\n</parameter>\n"
          "<parameter=any>\n3\n</parameter>\n<parameter=maybe>\nnull\n</parameter>\n</function>\n</tool_call>"),
      " |  | weather({\"place\":\"12\",\"days\":12,\"sure\":true,\"more\":{\"a\":[1]},\"any\":3,\"maybe\":\"null\"})");
  EXPECT_EQ(parsed("qwen3-coder",
                   "<tool_call><function=weather><parameter=place>a\n\n<b></parameter><parameter=days>soon</"
                   "parameter></function></tool_call>"),
            " |  | weather({\"place\":\"a\\n\\n<b>\",\"days\":\"soon\"})");
  EXPECT_EQ(parsed("qwen3-coder", "Yes.\n<function=weather>\n</function>\n</tool_call>"), " | Yes. | weather({})");
  EXPECT_EQ(parsed("qwen3-coder", "<tool_call>\n<function=weather>\n<parameter=place>\nOs"),
            " | <tool_call>\n<function=weather>\n<parameter=place>\nOs |");
}

TEST(AnswerParserTest, OtherTags) {
  EXPECT_EQ(parsed("glm",
                   "<tool_call>weather\n<arg_key>place</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</"
                   "arg_key>\n<arg_value>2</arg_value>\n</tool_call>"),
            " |  | weather({\"place\":\"Oslo\",\"days\":2})");
  EXPECT_EQ(parsed("glm", "ok<tool_call>now</tool_call>"), " | ok | now({})");
  EXPECT_EQ(parsed("glm", "<tool_call>now"), " | <tool_call>now |");
  EXPECT_EQ(parsed("minimax",
                   "t\n</think>\n\n<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter "
                   "name=\"place\">Oslo</parameter>\n<parameter name=\"days\">2</parameter>\n</invoke>\n"
                   "<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>",
                   "]~b]ai\n<think>\n"),
            "t |  | weather({\"place\":\"Oslo\",\"days\":2}) now({})");
  EXPECT_EQ(
      parsed(
          "deepseek",
          "a<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"place\": "
          "\"Oslo\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜><｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
      " | a | weather({\"place\": \"Oslo\"}) now({})");
  const std::string kimi =
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:3<|tool_call_argument_begin|>{\"days\": "
      "1}<|tool_call_end|><|tool_calls_section_end|>";
  EXPECT_EQ(parsed("kimi", kimi), " |  | weather({\"days\": 1})");
  EXPECT_EQ(parse(format("kimi"), kimi, 5).calls[0].id, "functions.weather:3");
}

TEST(AnswerParserTest, Lists) {
  EXPECT_EQ(
      parsed("mistral", "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"days\": 1}, \"id\": \"abcdefghi\"}]"),
      " |  | weather({\"days\":1})");
  EXPECT_EQ(parsed("mistral", "[TOOL_CALLS]a[ARGS]{\"x\": 1}[TOOL_CALLS]b[CALL_ID]1[ARGS]{}"),
            " |  | a({\"x\": 1}) b({})");
  EXPECT_EQ(parsed("llama3", "{\"name\": \"weather\", \"parameters\": {\"days\": 1}}"), " |  | weather({\"days\":1})");
  EXPECT_EQ(parsed("llama3", "<|python_tag|>{\"name\": \"weather\", \"parameters\": {}}"), " |  | weather({})");
  EXPECT_EQ(parsed("llama3", "{\"no\": \"call\"}"), " | {\"no\": \"call\"} |");
  EXPECT_EQ(parsed("llama3", "x {\"name\": 1}"), " | x {\"name\": 1} |");
  EXPECT_EQ(parsed("lfm2",
                   "<|tool_call_start|>[weather(place=\"O'slo\", days=-2), now(), weather('x', 3, more={'a': [1.5, "
                   "True, None]},)]<|tool_call_end|>ok"),
            " | ok | weather({\"place\":\"O'slo\",\"days\":-2}) now({}) "
            "weather({\"place\":\"x\",\"days\":3,\"more\":{\"a\":[1.5,true,null]}})");
  EXPECT_EQ(parsed("lfm2", "<|tool_call_start|>[f(g())]<|tool_call_end|>"),
            " | <|tool_call_start|>[f(g())]<|tool_call_end|> |");
  EXPECT_EQ(parsed("gemma4",
                   "<|channel>thought\nhm<channel|>ok<|tool_call>call:weather{days:2,more:{x:[<|\"|>a,b<|\"|>,true]},"
                   "place:<|\"|>Os\"lo<|\"|>}<tool_call|>"),
            "hm | ok | weather({\"days\":2,\"more\":{\"x\":[\"a,b\",true]},\"place\":\"Os\\\"lo\"})");
}

TEST(AnswerParserTest, Channels) {
  const std::string_view prompt = "<|start|>user<|message|>x<|end|><|start|>assistant";
  EXPECT_EQ(parsed("gpt-oss", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes",
                   prompt),
            "hm | yes |");
  EXPECT_EQ(parsed("gpt-oss",
                   "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary "
                   "to=functions.weather <|constrain|>json<|message|>{\"days\":1}<|call|>",
                   prompt),
            "hm |  | weather({\"days\":1})");
  EXPECT_EQ(parsed("gpt-oss", " to=functions.weather<|channel|>commentary json<|message|>{\"days\":1}", prompt),
            " |  | weather({\"days\":1})");
  EXPECT_EQ(parsed("gpt-oss", " to=functions.weather<|channel|>commentary json<|message|>{\"days\":", prompt),
            " | {\"days\": |");
  EXPECT_EQ(parsed("gpt-oss", "yes", "<|start|>assistant<|channel|>final<|message|>"), " | yes |");
  EXPECT_EQ(parsed("gpt-oss", "no header", prompt), " | no header |");
  EXPECT_EQ(parsed("gpt-oss", "<|channel|>fin", prompt), " |  |");
  EXPECT_EQ(parsed("gpt-oss", std::string(2000, ' ') + "x", prompt).size(), 6u);
}

// What each template writes into the history is what the model of that template writes.
TEST(AnswerParserTest, ReadsWhatTemplatesWrite) {
  if (!std::filesystem::exists("/usr/lib/python3/dist-packages/jinja2"))
    GTEST_SKIP() << "python3-jinja2 is not installed";
  const Json user = {{"role", "user"}, {"content", "Weather?"}};
  const Json call = Json::parse(R"({"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type":
    "function", "function": {"name": "weather", "arguments": {"place": "Oslo", "days": 2}}}]})");
  const Json kwargs = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  std::vector<std::string> formats;
  for (const auto& entry : std::filesystem::directory_iterator(test::golden("chat"))) {
    if (entry.path().extension() != ".jinja") continue;
    const Template chat(TemplateSource::load(entry.path().string()), nullptr);
    const AnswerFormat& format = AnswerFormat::of(chat.source().text);
    const std::string name = entry.path().stem().string();
    if (name == "google-gemma-2-2b-it" || name == "HuggingFaceTB-SmolLM3-3B") {
      EXPECT_EQ(format.name, "plain");
      continue;
    }
    formats.emplace_back(format.name);
    // The one writes no calls, the other uses what the sandbox forbids.
    if (name == "LFM2-8B-A1B" || name == "Kimi-K2-Instruct") continue;
    std::string prompt = chat.render_request(template_input({user}, kTools, kwargs)).text;
    const std::string after = chat.render_request(template_input({user, call}, kTools, kwargs, false)).text;
    // Some open or close reasoning in the prompt otherwise than in the history.
    if (!after.starts_with(prompt)) {
      while (!after.starts_with(prompt) || (prompt.back() != '\n' && prompt.back() != '>')) prompt.pop_back();
    }
    std::string text = after.substr(prompt.size());
    // GLM's history has the end of reasoning alone.
    if (text.starts_with("</think>")) text.erase(0, std::string_view("</think>").size());
    for (const std::string_view end : {"\n", "<|im_end|>", "</s>", "<|eot_id|>", "[e~[", "<｜end▁of▁sentence｜>",
                                       "<|call|>", "<|tool_response>", "<turn|>"}) {
      if (text.ends_with(end)) text.resize(text.size() - end.size());
    }
    for (const size_t piece : {size_t{1}, size_t{1000}}) {
      const Answer answer = parse(format, text, piece, prompt);
      ASSERT_EQ(answer.calls.size(), 1u) << name << ": " << text;
      EXPECT_EQ(answer.calls[0].name, "weather") << name;
      const nlohmann::json expected = {{"place", "Oslo"}, {"days", 2}};
      EXPECT_EQ(nlohmann::json::parse(answer.calls[0].arguments), expected) << name;
      EXPECT_EQ(answer.content, "") << name;
    }
  }
  std::ranges::sort(formats);
  EXPECT_THAT(formats,
              testing::ElementsAre("deepseek", "gemma4", "glm", "glm", "gpt-oss", "hermes", "kimi", "lfm2", "llama3",
                                   "minimax", "mistral", "qwen3-coder", "qwen3-coder", "qwen3-coder"));
}

TEST(AnswerParserTest, CharactersComeWhole) {
  AnswerParser parser(format("plain"), nullptr, "", 1);
  Answer answer;
  for (const char c : std::string("x你 é\xff\xe4\xbd")) {
    for (const Delta& delta : parser.push(std::string(1, c))) {
      EXPECT_TRUE(delta.text == "x" || delta.text == "你" || delta.text == " " || delta.text == "é" ||
                  delta.text == "\xff")
          << delta.text;
      answer.add(std::span(&delta, 1));
    }
  }
  answer.add(parser.finish());
  EXPECT_EQ(answer.content, "x你 é\xff\xe4\xbd");
}

TEST(AnswerParserTest, TextComesAsSoonAsItIsKnown) {
  AnswerParser parser(format("hermes"), kTools, "", 1);
  EXPECT_EQ(parser.push("a").size(), 1u);
  EXPECT_EQ(parser.push(" b <").size(), 1u);  // " b"; the rest may be a call
  EXPECT_EQ(parser.push("tool_").size(), 0u);
  EXPECT_EQ(parser.push("box>").size(), 1u);
}

TEST(AnswerParserTest, MessagesGoIntoTheHistory) {
  const Answer answer = {"so", "yes", {{"id", "f", "{\"b\": 1, \"a\": 2}"}}};
  EXPECT_EQ(
      json_text(answer.message("thinking")),
      R"({"role":"assistant","content":"yes","thinking":"so","tool_calls":[{"id":"id","type":"function","function":{"name":"f","arguments":{"b":1,"a":2}}}]})");
  EXPECT_EQ(json_text(Answer{}.message()), R"({"role":"assistant","content":""})");
}

TEST(AnswerParserTest, OnlyMarkupIsShown) {
  const tokenizer::Tokenizer tokenizer = [] {
    using tokenizer::TokenType;
    tokenizer::SmallModel model({}, {{"<|channel>", TokenType::kControl}, {"<|im_end|>", TokenType::kControl}});
    return tokenizer::Tokenizer(model.metadata());
  }();
  EXPECT_EQ(piece_of(tokenizer, format("gemma4"), 256), "<|channel>");
  EXPECT_EQ(piece_of(tokenizer, format("gemma4"), 257), "");
  EXPECT_EQ(piece_of(tokenizer, format("gemma4"), 'a'), "a");
}

}  // namespace
}  // namespace steelyard::chat
