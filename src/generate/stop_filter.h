// Lets generated text through to the reader, up to a stop string. Text in which a stop string could still be completing
// is held back, and so is a character whose last bytes are not there yet. Where tokens end makes no difference.
// Used by Generator.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steelyard {

class StopFilter {
 public:
  /// Error for an empty stop string.
  explicit StopFilter(std::vector<std::string> stops);

  /// Takes the next piece of text; returns what may be shown now. Of several stop strings the one that is complete
  /// first counts, then the longest. It is not shown, nor anything behind it.
  std::string push(std::string_view piece);

  /// Whether a stop string was found.
  bool stopped() const { return stopped_; }

  /// What is held back, for when no more text comes: all but a character that was cut off. Starts anew.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace steelyard
