// Text from outside: what is calibrated on, evaluated, continued or parsed line by line. Every text of a user is read
// here. It is UTF-8, or it is refused: other encodings and binary files would become tokens as well, of garbage.
#pragma once

#include <string>
#include <string_view>

namespace steelyard {

/// The text of a file, or of a pipe (read_file), without a byte order mark at its beginning. Error as check_text().
std::string read_text_file(const std::string& path);

/// Error that names the encoding, as far as it shows, for text in UTF-16 or UTF-32, with NUL bytes, or that is not
/// UTF-8. A character that is cut at the beginning or the end is no error, if there are whole ones besides: pieces of
/// files are cut anywhere. `where`: the file or the option, for the message.
void check_text(std::string_view text, const std::string& where);

/// A text that is read several times, and may come through a pipe, which can be read once: then a copy in memory is
/// read, by a name that only this process has.
class RereadableText {
 public:
  /// Error when a pipe cannot be read, or has no text.
  explicit RereadableText(const std::string& path);
  RereadableText(const RereadableText&) = delete;
  RereadableText& operator=(const RereadableText&) = delete;
  ~RereadableText();

  /// Of the text, or of its copy, which is there as long as this object.
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int copy_ = -1;  // its descriptor
};

}  // namespace steelyard
