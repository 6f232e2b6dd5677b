#include "chat/delta_writer.h"

#include <utility>

#include "base/utf8.h"

namespace steelyard::chat {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// Where the end begins that must wait: a character that is not whole.
size_t end_of_characters(std::string_view text) {
  constexpr size_t kLongest = 4;
  for (size_t i = text.size() - std::min(text.size(), kLongest); i < text.size(); ++i) {
    if (utf8_length(text, i) == 0 && utf8_goes_on(text, i)) return i;
  }
  return text.size();
}

}  // namespace

void DeltaWriter::append(std::string_view piece) {
  if (piece.empty()) return;
  begins_ = false;
  if (deltas_.empty() || deltas_.back().kind != kind_) deltas_.push_back({kind_, "", {}});
  deltas_.back().text += piece;
}

void DeltaWriter::text(Delta::Kind kind, std::string_view piece) {
  if (piece.empty()) return;
  if (kind != kind_) {
    end_part(/*keeps_space=*/false);
    kind_ = kind;
  }
  const bool trims = begins_ && (kind == Delta::Kind::kReasoning || trims_content_);
  if (trims) piece.remove_prefix(std::min(piece.find_first_not_of(kSpace), piece.size()));
  if (piece.empty()) return;
  // White space waits for what follows it. It is all of what waits, or the piece ends it.
  std::string all = std::exchange(waiting_, "");
  all += piece;
  const size_t end_of_words = all.find_last_not_of(kSpace) + 1;  // 0 where there is none
  const size_t end = end_of_words == all.size() ? end_of_characters(all) : end_of_words;
  waiting_ = all.substr(end);
  append(std::string_view(all).substr(0, end));
}

void DeltaWriter::calls(std::vector<ToolCall> calls) {
  end_part(/*keeps_space=*/false);
  for (ToolCall& call : calls) {
    if (call.id.empty()) {
      // Mistral's templates want nine of these; others take any.
      constexpr std::string_view kSigns = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
      for (int i = 0; i < 9; ++i) call.id += kSigns[static_cast<size_t>(random_.below(std::ssize(kSigns)))];
    }
    deltas_.push_back({Delta::Kind::kToolCall, "", std::move(call)});
  }
  trims_content_ = true;
}

void DeltaWriter::end_part(bool keeps_space) {
  const size_t words = keeps_space ? waiting_.size() : waiting_.find_last_not_of(kSpace) + 1;
  append(std::string_view(waiting_).substr(0, words));
  waiting_.clear();
  begins_ = true;
}

std::vector<Delta> DeltaWriter::take() { return std::exchange(deltas_, {}); }

std::vector<Delta> DeltaWriter::finish() {
  end_part(/*keeps_space=*/kind_ == Delta::Kind::kContent);
  return take();
}

}  // namespace steelyard::chat
