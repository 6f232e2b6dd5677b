// A file that appears complete or not at all: written under a temporary name beside the target, synced, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/output_file.h"

namespace steelyard {

class AtomicFile {
 public:
  /// Creates "<path>.<pid>.tmp" in the directory of `path`. Error if that is impossible, or if `path` exists and is not
  /// a regular file. An existing `path` stays as it is until finish().
  explicit AtomicFile(const std::string& path);
  /// As above, but an interruption does not lose the file: the temporary file is "<path>.partial", and stays unless
  /// finish() renames it. It begins with the first `size` bytes of the existing one. Error when that has fewer.
  struct Resume {
    uint64_t size;
  };
  AtomicFile(const std::string& path, Resume from);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless finish() succeeded or a later run may continue it.
  ~AtomicFile();

  /// Appends all of `bytes`. Error (disk full, I/O) names the target.
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text.data(), text.size()))); }

  /// As OutputFile::reserve.
  void reserve(uint64_t bytes) { file_.reserve(bytes); }

  /// Returns when the appended bytes are on the disk.
  void sync() { file_.sync(); }

  /// Bytes appended so far.
  uint64_t size() const { return size_; }

  /// Syncs the file, renames it to the target, syncs the directory. Nothing may be appended afterwards.
  void finish();

 private:
  std::string path_;
  std::string temporary_;
  OutputFile file_;
  uint64_t size_ = 0;
  bool keep_ = false;  // the temporary file
};

/// Error if `path` exists and is not a regular file: renaming over a folder or a device would fail, or worse. Error,
/// too, if standard output or standard error goes there.
void check_replaceable(const std::string& path);

/// Renames a file whose content is on the disk to `path`. Error if that fails.
void rename_into_place(const std::string& from, const std::string& path);

/// Writes `text` as the whole content of `path`, atomically.
void write_file(const std::string& path, std::string_view text);

/// The whole content of `path`; "-" is the standard input. A pipe is read to its end. Error if it cannot be read, for a
/// folder, and for a pipe that has more than kMaxPiped bytes: nobody knows beforehand how much will come.
inline constexpr size_t kMaxPiped = size_t{256} << 20;
std::string read_file(const std::string& path);

}  // namespace steelyard
