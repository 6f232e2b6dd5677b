// Tells apart what a model says, piece by piece: reasoning, content, and calls of tools.
//
// Whatever the pieces are, all that is not markup comes out: what looks like a call and is none comes out as content.
// Text is held back only as long as it may be the beginning of markup, white space before markup, or a cut character;
// calls come whole. White space around reasoning, and around content beside reasoning or calls, is not part of either.
// The time is linear in the text. Called by whoever lets a model answer in a chat.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "chat/answer.h"
#include "chat/answer_format.h"

namespace steelyard::chat {

class AnswerSplitter;

class AnswerParser {
 public:
  /// `tools`: of the request, as clients send them; without any, nothing is taken as a call. `prompt`: the rendered
  /// text that the model continues, which may have opened reasoning already. `id_seed`: of the ids of calls.
  AnswerParser(const AnswerFormat& format, const Json& tools, std::string_view prompt, uint64_t id_seed);
  AnswerParser(AnswerParser&&) noexcept;
  ~AnswerParser();

  /// What is known after the next piece of the answer, as piece_of() makes it of a token.
  std::vector<Delta> push(std::string_view piece);
  /// The rest, when the answer is over. Nothing is pushed after this.
  std::vector<Delta> finish();

 private:
  std::unique_ptr<AnswerSplitter> splitter_;
};

}  // namespace steelyard::chat
