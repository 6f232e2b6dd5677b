// Passes generated text on to the reader, up to a stop string. Text that may still become a stop string is held back,
// and so is a character whose last bytes are missing. Where tokens end makes no difference. Used by Generator.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace steelyard::generate {

class StopFilter {
 public:
  /// Error for an empty stop string.
  explicit StopFilter(std::vector<std::string> stops);

  /// Takes the next piece of text; returns the text that may be shown now. Of several stop strings the one that is
  /// complete first counts, then the longest. It is not shown, and neither is anything after it.
  std::string push(std::string_view piece);

  /// Whether a stop string was found.
  bool stopped() const { return stopped_; }

  /// The text that is held back, for when no more text comes, without a character that was cut off. Resets the filter.
  std::string finish();

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace steelyard::generate
