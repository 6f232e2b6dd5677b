// Answers of gpt-oss ("harmony", as OpenAI's cookbook describes it): messages with a header each,
//   <|start|>assistant<|channel|>analysis<|message|>TEXT<|end|>
//   <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
//   <|start|>assistant<|channel|>final<|message|>TEXT<|return|>
// of which the prompt has begun the first. See answer_splitter.h.
#include <algorithm>
#include <array>
#include <optional>

#include "chat/answer_splitter.h"

namespace steelyard::chat {
namespace {

constexpr std::string_view kStart = "<|start|>", kChannel = "<|channel|>", kMessage = "<|message|>";
constexpr std::array<std::string_view, 4> kEnds = {"<|end|>", "<|call|>", "<|return|>", kStart};
constexpr std::string_view kFunctions = "functions.";
// Longer ones are text of a model that does not keep to the format.
constexpr size_t kLongestHeader = 512;

// The text after `label` up to white space or a mark; empty where the label is not there.
std::string_view labelled(std::string_view header, std::string_view label) {
  const size_t at = header.find(label);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = header.substr(at + label.size());
  return rest.substr(0, rest.find_first_of(" \t\r\n<"));
}

class ChannelSplitter : public AnswerSplitter {
 public:
  ChannelSplitter(const AnswerFormat& format, const Json& tools, std::string_view prompt, uint64_t id_seed)
      : AnswerSplitter(format, tools, id_seed) {
    const size_t begun = prompt.rfind(kStart);
    if (begun == std::string_view::npos) return;
    begun_ = prompt.substr(begun);
    if (begun_.size() > kLongestHeader) begun_.clear();
    if (const size_t message = begun_.find(kMessage); message != std::string::npos) {
      begin_body(begun_.substr(0, message));
      begun_.clear();
    }
  }

  void end() override {
    if (in_header_) {
      // The beginning of a header that goes no further says nothing.
      if (!pending_.empty() && !is_header(pending_)) write(Delta::Kind::kContent, pending_.size());
    } else {
      end_body(pending_.size());
    }
  }

 private:
  void go_on() override {
    while (in_header_ ? header() : body()) {
    }
  }

  // Whether the text is a header, or may become one: it begins with a mark or a recipient.
  static bool is_header(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    for (const std::string_view mark :
         {kStart, kChannel, kMessage, std::string_view("to="), kEnds[0], kEnds[1], kEnds[2]}) {
      if (text.starts_with(mark) || mark.starts_with(text)) return true;
    }
    return false;
  }

  bool header() {
    const size_t end = pending_.find(kMessage);
    if (is_header(pending_) && end < kLongestHeader) {
      begin_body(begun_ + pending_.substr(0, end));
      begun_.clear();
      pending_.erase(0, end + kMessage.size());
      return true;
    }
    if (is_header(pending_) && pending_.size() < kLongestHeader + kMessage.size()) return false;
    begin_body(begun_);  // a model that answers without a header
    return true;
  }

  void begin_body(std::string_view header) {
    in_header_ = false;
    recipient_.reset();
    const size_t start = header.rfind(kStart);
    if (start != std::string_view::npos) header.remove_prefix(start);
    const std::string_view to = labelled(header, "to=");
    if (to.starts_with(kFunctions) && !tools_.empty()) recipient_ = to.substr(kFunctions.size());
    kind_ = labelled(header, kChannel) == "analysis" ? Delta::Kind::kReasoning : Delta::Kind::kContent;
    if (!recipient_) writer_.trim_content();
    searched_ = 0;
  }

  bool body() {
    size_t end = std::string::npos, taken = 0, held = 0;
    for (const std::string_view mark : kEnds) {
      const size_t at = pending_.find(mark, searched_);
      if (at < end) {
        end = at;
        taken = mark == kStart ? 0 : mark.size();
      }
      held = std::max(held, overlap(pending_, mark));
    }
    if (end == std::string::npos) {
      if (recipient_)
        searched_ = pending_.size() - held;  // calls come whole
      else
        write(kind_, pending_.size() - held);
      return false;
    }
    end_body(end);
    pending_.erase(0, taken);
    in_header_ = true;
    return true;
  }

  // The first `size` bytes of pending_ are the rest of the message.
  void end_body(size_t size) {
    auto call = recipient_ ? named_call(*recipient_, std::string_view(pending_).substr(0, size)) : std::nullopt;
    if (!call) return write(kind_, size);
    writer_.calls({std::move(*call)});
    pending_.erase(0, size);
  }

  bool in_header_ = true;
  std::string begun_;  // by the prompt: the beginning of the first header
  Delta::Kind kind_ = Delta::Kind::kContent;
  std::optional<std::string> recipient_;  // the function that the message goes to
  size_t searched_ = 0;                   // bytes of pending_ in which no end is
};

}  // namespace

std::unique_ptr<AnswerSplitter> make_channel_splitter(const AnswerFormat& format, const Json& tools,
                                                      std::string_view prompt, uint64_t id_seed) {
  return std::make_unique<ChannelSplitter>(format, tools, prompt, id_seed);
}

}  // namespace steelyard::chat
