#include "serve/chat_writer.h"

#include <algorithm>
#include <utility>

namespace steelyard::serve {
namespace {

constexpr std::string_view kBegin = "<think>", kEnd = "</think>", kSpace = " \n\r\t";

// What follows of an answer, by what it is.
struct Part {
  std::string reasoning, content;
};

// Tells the reasoning that an answer begins with from the rest, while text comes: what may still become a mark, and
// white space around marks, is held back.
class Splitter {
 public:
  explicit Splitter(bool in_reasoning) : state_(in_reasoning ? State::kReasoning : State::kStart) {}

  Part push(std::string_view text) {
    Part part;
    held_ += text;
    if (state_ == State::kStart) start();
    if (state_ == State::kReasoning) reason(part);
    if (state_ == State::kAfter) {
      held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
      if (!held_.empty()) state_ = State::kContent;
    }
    if (state_ == State::kContent) part.content += std::exchange(held_, "");
    return part;
  }

  // No more text comes.
  Part finish() {
    std::string rest = std::exchange(held_, "");
    return state_ == State::kReasoning ? Part{std::move(rest), ""} : Part{"", std::move(rest)};
  }

 private:
  enum class State { kStart, kReasoning, kAfter, kContent };

  void start() {
    const size_t at = held_.find_first_not_of(kSpace);
    if (at == std::string::npos) return;
    const std::string_view rest = std::string_view(held_).substr(at);
    if (rest.starts_with(kBegin)) {
      held_.erase(0, at + kBegin.size());
      state_ = State::kReasoning;
    } else if (!kBegin.starts_with(rest)) {
      state_ = State::kContent;
    }
  }

  void reason(Part& part) {
    const size_t end = held_.find(kEnd);
    size_t n = end;
    if (end == std::string::npos) {
      n = held_.size();
      for (size_t mark = std::min(kEnd.size() - 1, held_.size()); mark > 0; --mark) {
        if (!held_.ends_with(kEnd.substr(0, mark))) continue;
        n -= mark;
        break;
      }
    }
    part.reasoning.append(held_, 0, n);
    held_.erase(0, end == std::string::npos ? n : end + kEnd.size());
    if (end != std::string::npos) state_ = State::kAfter;
  }

  State state_;
  std::string held_;
};

}  // namespace

struct ChatWriter::Choice {
  explicit Choice(bool in_reasoning) : splitter(in_reasoning) {}

  Splitter splitter;
  std::string reasoning, content;
  json::Json scores = nullptr, finish = nullptr;
  bool begun = false;
};

ChatWriter::ChatWriter(AnswerHead head, const tokenizer::Tokenizer& tokenizer, Options options)
    : head_(std::move(head)), tokenizer_(tokenizer), options_(options), usage_(options.n) {
  for (int64_t i = 0; i < options_.n; ++i) choices_.push_back(std::make_unique<Choice>(options_.in_reasoning));
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
  Part part = choice.splitter.push(event.text);
  if (event.is_last()) {
    const Part last = choice.splitter.finish();
    part.reasoning += last.reasoning;
    part.content += last.content;
  }
  choice.reasoning += part.reasoning;
  choice.content += part.content;

  json::Json delta = json::Json::object(), scores;
  if (!std::exchange(choice.begun, true)) delta = {{"role", "assistant"}, {"content", ""}};
  if (!part.reasoning.empty()) delta["reasoning_content"] = part.reasoning;
  if (!part.content.empty()) delta["content"] = part.content;
  if (options_.scores && !event.tokens.empty()) {
    scores = chat_scores(event.tokens, tokenizer_);
    if (choice.scores.is_null()) choice.scores = {{"content", json::Json::array()}};
    for (const json::Json& score : scores["content"]) choice.scores["content"].push_back(score);
  }
  if (event.finish) choice.finish = finish_name(*event.finish);
  if (delta.empty() && scores.is_null() && !event.is_last()) return {};
  return {answer("chat.completion.chunk", json::Json::array({{{"index", event.index},
                                                              {"delta", std::move(delta)},
                                                              {"logprobs", std::move(scores)},
                                                              {"finish_reason", choice.finish}}}))};
}

json::Json ChatWriter::whole() const {
  json::Json choices = json::Json::array();
  for (const auto& choice : choices_) {
    json::Json message = {{"role", "assistant"}, {"content", choice->content}};
    if (!choice->reasoning.empty()) message["reasoning_content"] = choice->reasoning;
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
