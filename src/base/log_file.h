// A text file that grows by lines, each durable before the next thing happens, and that one run at a time holds. For a
// quantization's journal (quantize/journal.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/temporary_file.h"

namespace steelyard {

class LogFile {
 public:
  /// Opens or creates `path`, and locks it. `subject` is named in messages: what the log is about. Error if that is
  /// impossible, or another run holds it.
  LogFile(std::string path, std::string subject);
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile();

  const std::string& path() const { return path_; }
  /// Whether this object made the file.
  bool was_created() const { return created_; }
  /// All that is in it.
  std::string content() const;

  /// Cuts the file to its first `bytes`; the next append goes there.
  void cut(uint64_t bytes);
  /// Durable on return.
  void append(std::string_view text);
  /// From now on the file is removed with the object, and by signals, until it says something that is worth keeping.
  void set_worthless();
  void set_worth_keeping() { worthless_.keep(); }
  /// Removes the file, and gives up the lock. Error if it stays.
  void remove();

 private:
  std::string path_, subject_;
  int fd_ = -1;
  bool created_ = false;
  uint64_t end_ = 0;
  TemporaryFile worthless_;
};

/// Holds a name while it lives: an empty file, gone afterwards. For runs whose files beside an output have fixed names.
class LockFile {
 public:
  /// Error naming `subject` if another run holds it.
  LockFile(std::string path, std::string subject) : log_(std::move(path), std::move(subject)) {
    if (log_.content().empty()) log_.set_worthless();
  }

 private:
  LogFile log_;
};

}  // namespace steelyard
