// Everything that the program does to files goes through these calls, and nothing outside src/base calls them: base is
// the only place that creates, locks, syncs, renames and removes (tests/base/system_calls_test.cc looks for others).
//
// The contract of base, towards whoever writes a file:
// - A final name has its old content or its new one, whole and on the disk, never a part (atomic_file.h).
// - A link is written through, to the file that it names. An older file's mode and owner stay (output_target.h).
// - Names that can be foreseen are never followed as links, and never taken from another run: they are locked
//   (output_file.h, log_file.h, resume_file.h). Other temporary names are random and must be new.
// - Progress is removed when the result is safe, not before. What a failed run or a signal leaves can be gone on with,
//   or is removed (temporary_file.h, signals.h).
// - A result is not published when a file that it was made from has changed meanwhile (mapped_file.h).
// - Every failure is an Error that names the file.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace steelyard {

/// The system's calls of the same names and results. Tests can make them fail (FailingCalls).
struct System {
  static int open(const std::string& path, int flags, mode_t mode = 0);
  static ssize_t read(int fd, void* bytes, size_t count);
  static ssize_t pread(int fd, void* bytes, size_t count, off_t offset);
  static ssize_t write(int fd, const void* bytes, size_t count);
  static ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset);
  static int ftruncate(int fd, off_t length);
  static int fallocate(int fd, int mode, off_t offset, off_t length);
  static int fsync(int fd);
  static int fdatasync(int fd);
  static int flock(int fd, int operation);
  static int rename(const std::string& from, const std::string& to);
  static int unlink(const std::string& path);
  static int remove(const std::string& path);  // C's: of an empty folder, too
  static void* mmap(size_t length, int protection, int flags, int fd);
};

/// For tests: while it lives, one of this process's System calls fails with `error` (an errno).
class FailingCalls {
 public:
  /// nth: 1 is the next call; 0: none, the calls are only counted. from_then_on: all later ones fail, too, as on a full
  /// disk.
  FailingCalls(int64_t nth, int error, bool from_then_on = false);
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;
  ~FailingCalls();

  int64_t n_calls() const;
  /// The first that failed: "unlink"; empty: none did.
  std::string failed() const;
};

}  // namespace steelyard
