#include "base/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/output_target.h"
#include "base/system_calls.h"

namespace steelyard {

namespace {
constexpr uint64_t kMaxFileBytes = std::numeric_limits<off_t>::max();
}  // namespace

LockedFile open_locked(const std::string& path, const std::string& subject, int flags, unsigned mode) {
  for (;;) {
    // First as a new file, so that it is known whether there was one.
    bool created = true;
    int fd = (flags & O_CREAT) != 0 ? System::open(path, flags | O_EXCL | O_NOFOLLOW, mode) : -1;
    if (fd < 0 && ((flags & O_CREAT) == 0 || (errno == EEXIST && (flags & O_EXCL) == 0))) {
      created = false;
      fd = System::open(path, (flags & ~O_CREAT) | O_NOFOLLOW | O_NONBLOCK);
      if (fd < 0 && errno == ENOENT && (flags & O_CREAT) != 0) continue;  // removed meanwhile
    }
    if (fd < 0) {
      if (errno == ELOOP) fail(path, "is a symbolic link, where a file of this program should be");
      if (errno == EISDIR || errno == ENXIO) fail(path, "exists and is not a regular file");
      fail((flags & O_CREAT) != 0 ? subject : path, "cannot write here: {}", std::strerror(errno));
    }
    const auto give_up = [&](const std::string& why) {
      ::close(fd);
      fail(path, "{}", why);
    };
    struct stat ours {};
    if (::fstat(fd, &ours) != 0 || !S_ISREG(ours.st_mode)) give_up("exists and is not a regular file");
    if (ours.st_nlink > 1) give_up("has several names, so it is not a file of this program");
    // A file system without locks is not an error.
    if (System::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(fd);
      fail(subject, "another run is writing it");
    }
    // The last run that held the lock may have removed or renamed the file. Then the name is free, or another file's.
    struct stat named {};
    if (::lstat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
      return {fd, created};
    }
    ::close(fd);
  }
}

OutputFile::OutputFile(const std::string& path, std::string target, Content content) : target_(std::move(target)) {
  const int flags = O_WRONLY | (content == Content::kNew       ? O_CREAT | O_EXCL
                                : content == Content::kDiscard ? O_CREAT
                                                               : 0);
  const LockedFile file = open_locked(path, target_, flags, creation_mode(target_));
  fd_ = file.fd;
  take_over_mode(fd_, target_);
  if (content == Content::kDiscard && !file.created) resize(0);
}

OutputFile::OutputFile(OutputFile&& other) noexcept : target_(std::move(other.target_)), fd_(other.release()) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(target_, other.target_);
  std::swap(fd_, other.fd_);
  return *this;
}

OutputFile::~OutputFile() { close(); }

void OutputFile::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void OutputFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  STEELYARD_CHECK(is_open() && offset <= kMaxFileBytes);
  while (!bytes.empty()) {
    const ssize_t written = System::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(target_, "cannot write after {} bytes: {}", offset, std::strerror(errno));
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::reserve(uint64_t bytes) {
  STEELYARD_CHECK(is_open());
  if (bytes == 0) return;
  if (bytes > kMaxFileBytes) fail(target_, "needs {} bytes, a file has at most {}", bytes, kMaxFileBytes);
  // Keeping the size means that a reader of an unfinished file never sees zeros that were not written.
  int result;
  do {
    result = System::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    fail(target_, "needs {} bytes: {}", bytes, std::strerror(errno));
  }
  // Without a reservation, the free space at this moment is the best estimate.
  struct statvfs space {};
  if (::fstatvfs(fd_, &space) != 0 || space.f_blocks == 0) return;
  const uint64_t free_bytes = space.f_bavail * space.f_frsize;
  if (bytes > free_bytes) fail(target_, "needs {} bytes, {} are free", bytes, free_bytes);
}

void OutputFile::resize(uint64_t bytes) {
  STEELYARD_CHECK(is_open() && bytes <= kMaxFileBytes);
  if (System::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) {
    fail(target_, "cannot set the size to {} bytes: {}", bytes, std::strerror(errno));
  }
}

void OutputFile::sync() {
  STEELYARD_CHECK(is_open());
  if (System::fsync(fd_) != 0) fail(target_, "cannot sync: {}", std::strerror(errno));
}

// These are hints. They affect only the kernel's memory, so their results do not matter.

void OutputFile::write_behind(uint64_t begin, uint64_t end) {
  ::sync_file_range(fd_, static_cast<off_t>(begin), static_cast<off_t>(end - begin), SYNC_FILE_RANGE_WRITE);
}

void OutputFile::forget(uint64_t begin, uint64_t end) {
  const auto offset = static_cast<off_t>(begin), length = static_cast<off_t>(end - begin);
  // Only pages that are already written can be dropped.
  ::sync_file_range(fd_, offset, length,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  ::posix_fadvise(fd_, offset, length, POSIX_FADV_DONTNEED);
}

void rename_into_place(const std::string& from, const std::string& target) {
  if (System::rename(from, target) != 0) fail(target, "cannot rename into place: {}", std::strerror(errno));
}

void sync_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int fd = System::open(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;  // the data is safe, only the name might be lost in a power cut
  System::fsync(fd);
  ::close(fd);
}

}  // namespace steelyard
