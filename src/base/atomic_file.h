// A file that appears whole or not at all: written under a temporary name beside the target, synced, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace steelyard {

class AtomicFile {
 public:
  /// Creates "<path>.<pid>.tmp" in the directory of `path`. Error if that is impossible, or if `path` exists and is not
  /// a regular file. An existing `path` stays as it is until finish().
  explicit AtomicFile(const std::string& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless finish() succeeded.
  ~AtomicFile();

  /// Appends all of `bytes`. Error (disk full, I/O) names the target.
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Asks the file system to reserve `bytes` from the start, so that a full disk shows before any work. A file system
  /// without reservation is not an error; too little space is.
  void reserve(uint64_t bytes);

  /// Bytes appended so far.
  uint64_t size() const { return size_; }

  /// Syncs the file, renames it to the target, syncs the directory. Nothing may be appended afterwards.
  void finish();

 private:
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Writes `text` as the whole content of `path`, atomically.
void write_file(const std::string& path, std::string_view text);

/// The whole content of `path`. Error if it cannot be read.
std::string read_file(const std::string& path);

}  // namespace steelyard
