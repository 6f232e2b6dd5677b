// Answers in one text: reasoning between its marks, and calls between theirs. See answer_splitter.h.
#include <algorithm>
#include <utility>

#include "chat/answer_splitter.h"

namespace steelyard::chat {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
// Precedes a call of Llama 3's; not always.
constexpr std::string_view kPythonTag = "<|python_tag|>";

class MarkedSplitter : public AnswerSplitter {
 public:
  MarkedSplitter(const AnswerFormat& format, const Json& tools, std::string_view prompt, uint64_t id_seed)
      : AnswerSplitter(format, tools, id_seed), calls_(format.read_calls != nullptr && !tools_.empty()) {
    const size_t end = prompt.find_last_not_of(kSpace) + 1;
    if (!format.reason_open.empty() && prompt.substr(0, end).ends_with(format.reason_open)) state_ = State::kReasoning;
  }

  void end() override {
    switch (state_) {
      case State::kBegin:
      case State::kContent:
        write(Delta::Kind::kContent, pending_.size());
        break;
      case State::kReasoning:
        write(Delta::Kind::kReasoning, pending_.size());
        break;
      case State::kCall:
        end_call(pending_.size(), pending_.size(), /*closed=*/close_.empty());
        write(Delta::Kind::kContent, pending_.size());
        break;
    }
  }

 private:
  enum class State {
    kBegin,      // of the answer, or behind reasoning or a call: nothing but white space yet
    kReasoning,  // until reason_close
    kContent,    // until a call opens
    kCall,       // open_ has been taken; until close_
  };

  void go_on() override {
    while (true) {
      const State before = state_;
      switch (state_) {
        case State::kBegin:
          begin();
          break;
        case State::kReasoning:
          reason();
          break;
        case State::kContent:
          say();
          break;
        case State::kCall:
          call();
          break;
      }
      if (state_ == before) return;
    }
  }

  void begin() {
    size_t first = pending_.find_first_not_of(kSpace);
    if (first == std::string::npos) return;
    // A call without its opening mark may leave the closing one behind.
    const std::string_view stray = after_call_ ? format_.call_close : std::string_view();
    if (!stray.empty() && std::string_view(pending_).substr(first).starts_with(stray)) {
      pending_.erase(0, first + stray.size());
      after_call_ = false;
      first = pending_.find_first_not_of(kSpace);
      if (first == std::string::npos) return;
    }
    const std::string_view rest = std::string_view(pending_).substr(first);
    const bool whole_answer = calls_ && format_.call_open.empty();
    if (!format_.reason_open.empty() && rest.starts_with(format_.reason_open)) {
      pending_.erase(0, first + format_.reason_open.size());
      state_ = State::kReasoning;
    } else if (whole_answer && rest.starts_with(kPythonTag)) {
      open(std::string(kPythonTag), "", first + kPythonTag.size());
    } else if (whole_answer && rest.starts_with('{')) {
      open("", "", first);
    } else if (!may_become(rest, format_.reason_open) && !(whole_answer && may_become(rest, kPythonTag)) &&
               !(after_call_ && may_become(rest, format_.call_close))) {
      state_ = State::kContent;
    }
  }

  static bool may_become(std::string_view text, std::string_view mark) {
    return text.size() < mark.size() && mark.starts_with(text);
  }

  void reason() {
    const size_t end = pending_.find(format_.reason_close);
    if (end == std::string::npos) {
      return write(Delta::Kind::kReasoning, pending_.size() - overlap(pending_, format_.reason_close));
    }
    write(Delta::Kind::kReasoning, end);
    pending_.erase(0, format_.reason_close.size());
    writer_.trim_content();
    after_call_ = false;
    state_ = State::kBegin;
  }

  void say() {
    if (!calls_ || format_.call_open.empty()) return write(Delta::Kind::kContent, pending_.size());
    const size_t at = pending_.find(format_.call_open);
    const size_t bare = format_.bare_open.empty() ? std::string::npos : pending_.find(format_.bare_open);
    if (at == std::string::npos && bare == std::string::npos) {
      const size_t held = std::max(overlap(pending_, format_.call_open), overlap(pending_, format_.bare_open));
      return write(Delta::Kind::kContent, pending_.size() - held);
    }
    if (at <= bare) {
      write(Delta::Kind::kContent, at);
      open(std::string(format_.call_open), format_.call_close, format_.call_open.size());
    } else {
      write(Delta::Kind::kContent, bare);
      open("", format_.bare_close, 0);
    }
  }

  // A call begins behind the first `taken` bytes of pending_.
  void open(std::string mark, std::string_view close, size_t taken) {
    pending_.erase(0, taken);
    open_ = std::move(mark);
    close_ = close;
    searched_ = 0;
    state_ = State::kCall;
  }

  void call() {
    if (close_.empty()) return;
    const size_t end = pending_.find(close_, searched_);
    if (end == std::string::npos) {
      searched_ = pending_.size() - overlap(pending_, close_);
      return;
    }
    // What closes a bare call belongs to its text.
    end_call(open_.empty() ? end + close_.size() : end, end + close_.size(), /*closed=*/true);
    after_call_ = true;
    state_ = State::kBegin;
  }

  // The text of the call is `size` bytes of pending_, of which `taken` are gone then.
  void end_call(size_t size, size_t taken, bool closed) {
    const std::string_view text = std::string_view(pending_).substr(0, size);
    if (auto calls = format_.read_calls({text, closed, tools_})) {
      writer_.calls(std::move(*calls));
      pending_.erase(0, taken);
    } else {  // it was none
      writer_.text(Delta::Kind::kContent, open_);
      write(Delta::Kind::kContent, taken);
    }
  }

  const bool calls_;
  State state_ = State::kBegin;
  bool after_call_ = false;  // in kBegin
  std::string open_;         // the mark of this call, as the model wrote it; empty: it is part of the text
  std::string_view close_;   // of this call
  size_t searched_ = 0;      // bytes of pending_ in which close_ is not
};

}  // namespace

size_t overlap(std::string_view text, std::string_view mark) {
  for (size_t size = std::min(text.size(), mark.empty() ? 0 : mark.size() - 1); size > 0; --size) {
    if (text.ends_with(mark.substr(0, size))) return size;
  }
  return 0;
}

std::unique_ptr<AnswerSplitter> make_marked_splitter(const AnswerFormat& format, const Json& tools,
                                                     std::string_view prompt, uint64_t id_seed) {
  return std::make_unique<MarkedSplitter>(format, tools, prompt, id_seed);
}

}  // namespace steelyard::chat
