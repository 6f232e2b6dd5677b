// Puts together what a splitter finds into deltas: adjacent pieces become one, characters stay whole, white space at
// the seams between reasoning, content and calls goes. Called by splitters of answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "chat/answer.h"

namespace steelyard::chat {

class DeltaWriter {
 public:
  explicit DeltaWriter(uint64_t id_seed) : random_(id_seed) {}

  void text(Delta::Kind kind, std::string_view piece);
  void calls(std::vector<ToolCall> calls);
  /// White space at the next beginning of content is left out.
  void trim_content() { trims_content_ = true; }

  /// The deltas so far, less what waits: white space at the end, and the beginning of a character.
  std::vector<Delta> take();
  /// All of them.
  std::vector<Delta> finish();

 private:
  // Ends the text of one kind; drops the white space that waits unless it ends the answer.
  void end_part(bool keeps_space);
  void append(std::string_view piece);

  std::vector<Delta> deltas_;
  Delta::Kind kind_ = Delta::Kind::kContent;
  std::string waiting_;
  bool begins_ = true;  // nothing of this part is written yet
  bool trims_content_ = false;
  Random random_;
};

}  // namespace steelyard::chat
