#include "base/output_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace steelyard {

namespace {
constexpr uint64_t kMaxFileBytes = std::numeric_limits<off_t>::max();
}  // namespace

OutputFile::OutputFile(const std::string& path, std::string subject, Content content) : subject_(std::move(subject)) {
  const int fresh = content == Content::kDiscard ? O_CREAT | O_TRUNC : 0;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | fresh, 0644);
  if (fd_ < 0) fail(subject_, "cannot write here: {}", std::strerror(errno));
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : subject_(std::move(other.subject_)), fd_(std::exchange(other.fd_, -1)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(subject_, other.subject_);
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
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(subject_, "cannot write after {} bytes: {}", offset, std::strerror(errno));
    }
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::reserve(uint64_t bytes) {
  STEELYARD_CHECK(is_open());
  if (bytes == 0) return;
  if (bytes > kMaxFileBytes) fail(subject_, "needs {} bytes, a file has at most {}", bytes, kMaxFileBytes);
  // Keeping the size means that a reader of an unfinished file never sees zeros that were not written.
  int result;
  do {
    result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    fail(subject_, "needs {} bytes: {}", bytes, std::strerror(errno));
  }
  // Without a reservation, the free space at this moment is the best estimate.
  struct statvfs space {};
  if (::fstatvfs(fd_, &space) != 0 || space.f_blocks == 0) return;
  const uint64_t free_bytes = space.f_bavail * space.f_frsize;
  if (bytes > free_bytes) fail(subject_, "needs {} bytes, {} are free", bytes, free_bytes);
}

void OutputFile::resize(uint64_t bytes) {
  STEELYARD_CHECK(is_open() && bytes <= kMaxFileBytes);
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) {
    fail(subject_, "cannot set the size to {} bytes: {}", bytes, std::strerror(errno));
  }
}

void OutputFile::sync() {
  STEELYARD_CHECK(is_open());
  if (::fsync(fd_) != 0) fail(subject_, "cannot sync: {}", std::strerror(errno));
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

void sync_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // the data is safe, only the name might be lost in a power cut
  ::fsync(fd);
  ::close(fd);
}

}  // namespace steelyard
