#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace steelyard {

namespace {
constexpr uint64_t kMaxFileBytes = std::numeric_limits<off_t>::max();
}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path), temporary_(fmt::format("{}.{}.tmp", path, ::getpid())) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) fail(path, "exists and is not a regular file");
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(path, "cannot write here: {}", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  STEELYARD_CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path_, "cannot write after {} bytes: {}", size_, std::strerror(errno));
    }
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::reserve(uint64_t bytes) {
  STEELYARD_CHECK(fd_ >= 0);
  if (bytes == 0) return;
  if (bytes > kMaxFileBytes) fail(path_, "needs {} bytes, a file has at most {}", bytes, kMaxFileBytes);
  // Keeping the size means that a reader of the temporary file never sees zeros that were not written.
  int result;
  do {
    result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    fail(path_, "needs {} bytes: {}", bytes, std::strerror(errno));
  }
  // Without reservation the free space of this moment is the best that can be known.
  struct statvfs space {};
  if (::fstatvfs(fd_, &space) != 0 || space.f_blocks == 0) return;
  const uint64_t free_bytes = space.f_bavail * space.f_frsize;
  if (bytes > free_bytes) fail(path_, "needs {} bytes, {} are free", bytes, free_bytes);
}

void AtomicFile::finish() {
  STEELYARD_CHECK(fd_ >= 0);
  // The reservation may exceed what was written; the file must not keep blocks beyond its end.
  const bool synced = ::ftruncate(fd_, static_cast<off_t>(size_)) == 0 && ::fsync(fd_) == 0;
  if (!synced) fail(path_, "cannot sync: {}", std::strerror(errno));
  const bool renamed = ::rename(temporary_.c_str(), path_.c_str()) == 0;
  if (!renamed) fail(path_, "cannot rename into place: {}", std::strerror(errno));
  ::close(fd_);
  fd_ = -1;
  const std::filesystem::path directory = std::filesystem::path(path_).parent_path();
  const int directory_fd = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_fd >= 0) {  // best effort: the data is safe, only the name might be lost in a power cut
    ::fsync(directory_fd);
    ::close(directory_fd);
  }
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.finish();
}

std::string read_file(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace steelyard
