// A file open for writing at any offset. Every failure is an Error that names the purpose of the file. AtomicFile
// appends to one. The quantizer fills its result through one, and tells the kernel what it need not keep in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace steelyard {

class OutputFile {
 public:
  enum class Content { kDiscard, kKeep };

  /// Closed.
  OutputFile() = default;
  /// Creates or opens `path`. `subject` is the name for messages: the target that the user asked for. Error if that is
  /// impossible, or with kKeep if there is no such file.
  OutputFile(const std::string& path, std::string subject, Content content = Content::kDiscard);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  bool is_open() const { return fd_ >= 0; }

  /// Error (disk full, I/O) says how many bytes of the file could be written.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);

  /// Asks the file system to reserve `bytes` from the start, so that a full disk shows before any work. A file system
  /// without reservation is not an error; too little space is.
  void reserve(uint64_t bytes);

  /// Cuts or extends the file to `bytes`; the reservation beyond it is released.
  void resize(uint64_t bytes);

  /// Returns when content and size are on the disk.
  void sync();

  /// Starts writing a range to disk without waiting for it.
  void write_behind(uint64_t begin, uint64_t end);
  /// Waits until a range is being written, then releases its memory to the kernel.
  void forget(uint64_t begin, uint64_t end);

  void close();

 private:
  std::string subject_;
  int fd_ = -1;
};

/// Makes the names in the folder of `path` durable, as far as the file system can.
void sync_folder_of(const std::string& path);

}  // namespace steelyard
