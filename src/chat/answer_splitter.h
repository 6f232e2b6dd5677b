// How an answer is divided, by the kind of its markup: between marks in one text (MarkedSplitter), or as a series of
// messages with headers (ChannelSplitter). Made by AnswerParser.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "chat/answer_format.h"
#include "chat/delta_writer.h"
#include "chat/tool_schemas.h"

namespace steelyard::chat {

class AnswerSplitter {
 public:
  AnswerSplitter(const AnswerFormat& format, const Json& tools, uint64_t id_seed)
      : format_(format), tools_(tools), writer_(id_seed) {}
  AnswerSplitter(const AnswerSplitter&) = delete;
  AnswerSplitter& operator=(const AnswerSplitter&) = delete;
  virtual ~AnswerSplitter() = default;

  void push(std::string_view piece) {
    constexpr size_t kSlice = 4096;  // what is taken from the front of pending_ moves the rest
    for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), kSlice))) {
      pending_ += piece.substr(0, kSlice);
      go_on();
    }
  }
  /// The answer is over.
  virtual void end() = 0;
  DeltaWriter& writer() { return writer_; }

 protected:
  /// Takes as much of pending_ as can be told.
  virtual void go_on() = 0;

  /// Writes `size` bytes of pending_, and takes them.
  void write(Delta::Kind kind, size_t size) {
    writer_.text(kind, std::string_view(pending_).substr(0, size));
    pending_.erase(0, size);
  }

  const AnswerFormat format_;
  const ToolSchemas tools_;
  DeltaWriter writer_;
  std::string pending_;  // not told yet
};

/// Bytes at the end of `text` that may be the beginning of `mark`.
size_t overlap(std::string_view text, std::string_view mark);

std::unique_ptr<AnswerSplitter> make_marked_splitter(const AnswerFormat& format, const Json& tools,
                                                     std::string_view prompt, uint64_t id_seed);
std::unique_ptr<AnswerSplitter> make_channel_splitter(const AnswerFormat& format, const Json& tools,
                                                      std::string_view prompt, uint64_t id_seed);

}  // namespace steelyard::chat
