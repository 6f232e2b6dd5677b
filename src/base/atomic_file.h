// A file that appears complete or not at all: written under a temporary name beside the target, synced, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/output_file.h"
#include "base/temporary_file.h"

namespace steelyard {

class AtomicFile {
 public:
  /// Creates "<path>.<6 random digits>.tmp" beside the file that `path` names (output_target.h). Error if that is
  /// impossible. An existing file stays as it is until finish().
  explicit AtomicFile(const std::string& path);
  /// As above, but an interruption does not lose the file: the temporary file is "<path>.partial", and from the first
  /// keep() on it stays unless finish() renames it.
  struct Resume {
    uint64_t size;  ///< it begins with so many bytes of the existing one; Error when that has fewer
    bool complete =
        false;         ///< nothing will be appended: renaming may have been done already, then finish() does nothing
    bool ours = true;  ///< when nothing is kept: whether an existing one is known to be of an earlier run. Error if not
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
  void reserve(uint64_t bytes);

  /// Returns when the appended bytes are on the disk.
  void sync();
  /// Something on the disk vouches for what was synced: a later run can go on with it.
  void keep() { temporary_.keep(); }

  /// Bytes appended so far.
  uint64_t size() const { return size_; }

  /// Syncs the file, renames it to the target, syncs the directory. Nothing may be appended afterwards. Error, and no
  /// result, if a file that is mapped has changed since it was opened (mapped_file.h).
  void finish();
  /// The same, but the file stays open, with its lock.
  OutputFile finish_locked();

 private:
  std::string target_;  // what the name stands for
  std::string path_;    // the temporary file's
  TemporaryFile temporary_;
  OutputFile file_;
  uint64_t size_ = 0;
  bool renamed_ = false;  // by an earlier run
};

/// Writes `text` as the whole content of `path`, atomically.
void write_file(const std::string& path, std::string_view text);

/// The whole content of `path`; "-" is the standard input. A pipe is read to its end. Error if it cannot be read, for a
/// folder, and for a pipe that has more than kMaxPiped bytes: nobody knows beforehand how much will come.
inline constexpr size_t kMaxPiped = size_t{256} << 20;
std::string read_file(const std::string& path);

}  // namespace steelyard
