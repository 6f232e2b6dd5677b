// Errors that come from outside: files, flags, text, disk.
//
// Wrong input from outside throws Error. It is caught once, in tools/main.cc, and becomes one line on stderr and exit
// status 1. A bug in our own code is not an Error: it is a failed STEELYARD_CHECK (base/check.h).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace steelyard {

/// One error from outside. `where` names the file, and if known the tensor, key or line; `what` says what was found and
/// what was expected. what() is "where: what" on a single line, or only `what` when `where` is empty.
class Error : public std::runtime_error {
 public:
  Error(const std::string& where, const std::string& what);

  const std::string& where() const { return where_; }

 private:
  std::string where_;
};

/// Throws Error{where, fmt::format(format, args...)}.
template <typename... Args>
[[noreturn]] void fail(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(where, fmt::format(format, std::forward<Args>(args)...));
}

/// `text` made safe for one line of output: control bytes and invalid UTF-8 become \xNN, and text longer than
/// `max_bytes` is cut with "...". Names from a file pass through here before they reach a message.
std::string printable(std::string_view text, size_t max_bytes = 120);

}  // namespace steelyard
