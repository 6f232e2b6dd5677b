// See stop_filter.h.
#include "generate/stop_filter.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace steelyard::generate {
namespace {

// Length of `text` without an incomplete last character.
size_t whole_characters(std::string_view text) {
  for (size_t tail = 1; tail <= std::min<size_t>(3, text.size()); ++tail) {
    const auto byte = static_cast<uint8_t>(text[text.size() - tail]);
    if (byte < 0x80) break;
    if (byte < 0xC0) continue;  // goes on a character
    const size_t length = byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF8 ? 4 : 1;
    return length > tail ? text.size() - tail : text.size();
  }
  return text.size();
}

}  // namespace

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::ranges::find(stops_, "") != stops_.end()) fail("", "a stop string is empty");
}

std::string StopFilter::push(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;

  size_t first_end = std::string::npos;
  size_t cut = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    if (end < first_end || (end == first_end && at < cut)) {
      first_end = end;
      cut = at;
    }
  }
  stopped_ = first_end != std::string::npos;
  if (!stopped_) {
    cut = held_.size();
    for (const std::string& stop : stops_) {
      // The longest end of the text that is the beginning of a stop string.
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n) {
        if (!held_.ends_with(std::string_view(stop).substr(0, n))) continue;
        cut = std::min(cut, held_.size() - n);
        break;
      }
    }
  }
  cut = whole_characters(std::string_view(held_).substr(0, cut));
  std::string shown = held_.substr(0, cut);
  held_.erase(0, stopped_ ? held_.size() : cut);
  return shown;
}

std::string StopFilter::finish() {
  std::string shown = held_.substr(0, whole_characters(held_));
  held_.clear();
  stopped_ = false;
  return shown;
}

}  // namespace steelyard::generate
