#include "serve/chat_writer.h"

#include <random>
#include <span>
#include <utility>

#include "chat/answer_parser.h"

namespace steelyard::serve {
struct ChatWriter::Choice {
  explicit Choice(const Options& options, uint64_t id_seed)
      : parser(*options.format, options.tools, options.prompt, id_seed) {}

  chat::AnswerParser parser;
  chat::Answer answer;
  json::Json scores = nullptr, finish = nullptr;
  bool begun = false;
};

namespace {

// At `index` of the message's calls.
json::Json call_json(const chat::ToolCall& call, size_t index) {
  return {{"index", index},
          {"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

}  // namespace

ChatWriter::ChatWriter(AnswerHead head, const tokenizer::Tokenizer& tokenizer, Options options)
    : head_(std::move(head)), tokenizer_(tokenizer), options_(std::move(options)), usage_(options_.n) {
  std::random_device device;  // ids of calls are to differ from those of other answers
  for (int64_t i = 0; i < options_.n; ++i) {
    choices_.push_back(std::make_unique<Choice>(options_, uint64_t{device()} << 32 | device()));
  }
}

ChatWriter::~ChatWriter() = default;

json::Json ChatWriter::answer(const char* object, json::Json choices) const {
  return {{"id", head_.id},
          {"object", object},
          {"created", head_.created},
          {"model", head_.model},
          {"choices", std::move(choices)}};
}

std::vector<json::Json> ChatWriter::take(const Event& event) {
  usage_.add(event);
  Choice& choice = *choices_.at(static_cast<size_t>(event.index));
  std::vector<chat::Delta> parts = choice.parser.push(event.text);
  if (event.is_last()) {
    const std::vector<chat::Delta> rest = choice.parser.finish();
    parts.insert(parts.end(), rest.begin(), rest.end());
  }

  json::Json delta = json::Json::object(), scores;
  if (!std::exchange(choice.begun, true)) delta = {{"role", "assistant"}, {"content", ""}};
  std::string reasoning, content;
  for (const chat::Delta& part : parts) {
    if (part.kind == chat::Delta::Kind::kToolCall)
      delta["tool_calls"].push_back(call_json(part.call, choice.answer.calls.size()));
    else
      (part.kind == chat::Delta::Kind::kReasoning ? reasoning : content) += part.text;
    choice.answer.add(std::span(&part, 1));
  }
  if (!reasoning.empty()) delta["reasoning_content"] = reasoning;
  if (!content.empty()) delta["content"] = content;
  if (options_.scores && !event.tokens.empty()) {
    scores = chat_scores(event.tokens, tokenizer_);
    if (choice.scores.is_null()) choice.scores = {{"content", json::Json::array()}};
    for (const json::Json& score : scores["content"]) choice.scores["content"].push_back(score);
  }
  if (event.finish) {
    const bool calls = !choice.answer.calls.empty() && std::string_view(finish_name(*event.finish)) == "stop";
    choice.finish = calls ? "tool_calls" : finish_name(*event.finish);
  }
  if (delta.empty() && scores.is_null() && !event.is_last()) return {};
  return {answer("chat.completion.chunk", json::Json::array({{{"index", event.index},
                                                              {"delta", std::move(delta)},
                                                              {"logprobs", std::move(scores)},
                                                              {"finish_reason", choice.finish}}}))};
}

json::Json ChatWriter::whole() const {
  json::Json choices = json::Json::array();
  for (const auto& choice : choices_) {
    const auto& [reasoning, content, calls] = choice->answer;
    json::Json message = {{"role", "assistant"}, {"content", content}};
    if (content.empty() && !calls.empty()) message["content"] = nullptr;
    if (!reasoning.empty()) message["reasoning_content"] = reasoning;
    for (size_t i = 0; i < calls.size(); ++i) {
      json::Json call = call_json(calls[i], i);
      call.erase("index");  // of streams
      message["tool_calls"].push_back(std::move(call));
    }
    choices.push_back({{"index", choices.size()},
                       {"message", std::move(message)},
                       {"logprobs", choice->scores},
                       {"finish_reason", choice->finish}});
  }
  json::Json whole = answer("chat.completion", std::move(choices));
  whole["usage"] = usage_.json();
  return whole;
}

json::Json ChatWriter::usage_chunk() const {
  json::Json chunk = answer("chat.completion.chunk", json::Json::array());
  chunk["usage"] = usage_.json();
  return chunk;
}

}  // namespace steelyard::serve
