#include "base/terminal_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace steelyard {
namespace {

void append_escaped(std::string_view bytes, std::string& out) {
  for (const char c : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
}

}  // namespace

std::string TerminalText::push(std::string_view piece) {
  const std::string text = std::exchange(held_, "") + std::string(piece);
  std::string shown;
  shown.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0 && utf8_goes_on(text, i)) {
      held_ = text.substr(i);
      break;
    }
    const std::string_view sequence = std::string_view(text).substr(i, std::max<size_t>(length, 1));
    const bool is_plain = length > 0 && (sequence == "\n" || sequence == "\t" || !is_control(sequence));
    if (is_plain)
      shown += sequence;
    else
      append_escaped(sequence, shown);
    i += sequence.size();
  }
  return shown;
}

std::string TerminalText::finish() {
  std::string shown;
  append_escaped(std::exchange(held_, ""), shown);
  return shown;
}

}  // namespace steelyard
