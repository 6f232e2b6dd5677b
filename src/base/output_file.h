// A file open for writing at any offset, locked: two runs cannot write the same one. Every failure is an Error that
// names the purpose of the file. AtomicFile appends to one. The quantizer fills its result through one, and tells the
// kernel what it need not keep in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace steelyard {

class OutputFile {
 public:
  enum class Content {
    kNew,      ///< there must be no such file
    kDiscard,  ///< begin anew with the one that is there
    kKeep,     ///< go on with it
  };

  /// Closed.
  OutputFile() = default;
  /// Creates or opens `path`, and locks it. `target`: what it will be renamed to, whose mode it has if that exists, and
  /// which is named in messages. Error if that is impossible, if another run writes it, if `path` is a link of any
  /// kind, or with kKeep if there is no such file.
  OutputFile(const std::string& path, std::string target, Content content);
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

  /// The descriptor, with its lock; afterwards this object is closed.
  int release() { return std::exchange(fd_, -1); }

 private:
  std::string target_;
  int fd_ = -1;
};

/// Opens or creates `path`, and locks it until the descriptor is closed. What is already there stays. `flags` as
/// open's; O_EXCL: it must be new. `subject` is named in messages. Error if it cannot be opened or created, is not a
/// regular file of one name, or another run holds it.
struct LockedFile {
  int fd;
  bool created;
};
LockedFile open_locked(const std::string& path, const std::string& subject, int flags, unsigned mode = 0666);

/// Renames a file whose content is on the disk to `target`. Error if that fails.
void rename_into_place(const std::string& from, const std::string& target);

/// Makes the names in the folder of `path` durable, as far as the file system can.
void sync_folder_of(const std::string& path);

}  // namespace steelyard
