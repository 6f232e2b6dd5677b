// Any bytes as what a model answers in a chat: every part of it comes out, whatever the pieces are that it comes in,
// and calls of tools have JSON for arguments.
//
// The first byte chooses the format, the second how the prompt ends, and the third the size of the pieces.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "chat/answer_parser.h"
#include "fuzz/target.h"

namespace steelyard::chat {
namespace {

constexpr const char* kFuzzedTools =
    R"([{"function": {"name": "f", "parameters": {"properties": {"s": {"type": "string"},
  "i": {"type": "integer"}, "o": {"anyOf": [{"type": "object"}, {"type": "null"}]}, "any": {}}}}}])";

Answer read_answer(const AnswerFormat& format, std::string_view text, std::string_view prompt, size_t piece) {
  static const Json tools = Json::parse(kFuzzedTools);
  AnswerParser parser(format, tools, prompt, /*id_seed=*/0);
  Answer answer;
  for (size_t i = 0; i < text.size(); i += piece) {
    const std::vector<Delta> deltas = parser.push(text.substr(i, piece));
    for (const Delta& delta : deltas) STEELYARD_CHECK(delta.text.empty() == (delta.kind == Delta::Kind::kToolCall));
    answer.add(deltas);
  }
  answer.add(parser.finish());
  return answer;
}

}  // namespace
}  // namespace steelyard::chat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard::chat;
  if (size < 3) return 0;
  const auto formats = AnswerFormat::all();
  const AnswerFormat& format = *formats[data[0] % formats.size()];
  const std::string prompts[] = {"", std::string(format.reason_open) + "\n", "<|start|>assistant"};
  const std::string& prompt = prompts[data[1] % 3];
  const std::string_view text = steelyard::fuzz::as_text(data, size).substr(3);
  const Answer whole = read_answer(format, text, prompt, text.size() + 1);
  const Answer pieces = read_answer(format, text, prompt, size_t{1} + data[2] % 16);
  STEELYARD_CHECK(whole.reasoning == pieces.reasoning && whole.content == pieces.content);
  STEELYARD_CHECK(whole.calls == pieces.calls);
  STEELYARD_CHECK(whole.reasoning.size() + whole.content.size() <= text.size());
  for (const ToolCall& call : whole.calls) {
    STEELYARD_CHECK(!call.name.empty() && !call.id.empty() && parse_json(call.arguments).is_object());
  }
  steelyard::fuzz::g_sink = json_text(whole.message()).size();
  return 0;
}
