#include "base/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/system_calls.h"

namespace steelyard {

LogFile::LogFile(std::string path, std::string subject) : path_(std::move(path)), subject_(std::move(subject)) {
  const LockedFile file = open_locked(path_, subject_, O_RDWR | O_CREAT);
  fd_ = file.fd;
  created_ = file.created;
}

LogFile::~LogFile() {
  worthless_.remove();  // before the lock is given up
  if (fd_ >= 0) ::close(fd_);
}

std::string LogFile::content() const { return read_file(path_); }

void LogFile::cut(uint64_t bytes) {
  if (System::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) fail(path_, "cannot write: {}", std::strerror(errno));
  end_ = bytes;
}

void LogFile::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = System::pwrite(fd_, text.data(), text.size(), static_cast<off_t>(end_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(subject_, "cannot write its journal: {}", std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
    end_ += static_cast<uint64_t>(written);
  }
  if (System::fdatasync(fd_) != 0) fail(subject_, "cannot sync its journal: {}", std::strerror(errno));
}

void LogFile::set_worthless() {
  if (fd_ < 0) return;
  worthless_.keep();  // it is the same file
  worthless_ = TemporaryFile(path_);
}

void LogFile::remove() {
  worthless_.keep();
  remove_file(path_);
  ::close(std::exchange(fd_, -1));
}

}  // namespace steelyard
