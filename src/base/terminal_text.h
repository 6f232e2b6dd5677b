// Text on its way to a terminal, piece by piece. A terminal obeys control sequences: they set its title, move its
// cursor, or make it type. Names in a file and what a model says must not be able to send any.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

class TerminalText {
 public:
  /// The text so far, as it may be shown: controls but line end and tab, and bytes that are no UTF-8, as \xNN. A
  /// character may end in a later piece: its beginning waits for that.
  std::string push(std::string_view piece);
  /// What still waits.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace steelyard
