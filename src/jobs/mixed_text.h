// A text and conversations in one file (jobs/saved_text.h), for a job that reads its chunks several times: a search.
#pragma once

#include <optional>
#include <string>

#include "base/temporary_file.h"
#include "jobs/conversation_text.h"
#include "jobs/progress.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

class MixedText {
 public:
  /// Without conversations the text as it is. Else all of it, or options.chunks, with `share` of the chunks
  /// conversations, in a file `path` that goes with this object. `model` has tokenizer and template. Error as
  /// CalibrationText.
  MixedText(const TextOptions& text, const ConversationFiles& conversations, double share, const std::string& model,
            const std::string& path);

  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::optional<TemporaryFile> made_;
};

}  // namespace steelyard::jobs
