#include "chat/answer_parser.h"

#include "chat/answer_splitter.h"

namespace steelyard::chat {

AnswerParser::AnswerParser(const AnswerFormat& format, const Json& tools, std::string_view prompt, uint64_t id_seed)
    : splitter_(format.has_channels ? make_channel_splitter(format, tools, prompt, id_seed)
                                    : make_marked_splitter(format, tools, prompt, id_seed)) {}
AnswerParser::AnswerParser(AnswerParser&&) noexcept = default;
AnswerParser::~AnswerParser() = default;

std::vector<Delta> AnswerParser::push(std::string_view piece) {
  splitter_->push(piece);
  return splitter_->writer().take();
}

std::vector<Delta> AnswerParser::finish() {
  splitter_->end();
  return splitter_->writer().finish();
}

}  // namespace steelyard::chat
