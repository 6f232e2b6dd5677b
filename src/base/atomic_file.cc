#include "base/atomic_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace steelyard {

void check_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (!S_ISREG(status.st_mode)) fail(path, "exists and is not a regular file");
  // Of "/dev/stdout" with a redirection the link would be replaced, and the redirected file would have nothing.
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat redirected {};
    if (::fstat(stream, &redirected) == 0 && redirected.st_dev == status.st_dev && redirected.st_ino == status.st_ino) {
      fail(path, "is where standard {} goes", stream == STDOUT_FILENO ? "output" : "error");
    }
  }
}

void rename_into_place(const std::string& from, const std::string& path) {
  if (::rename(from.c_str(), path.c_str()) != 0) fail(path, "cannot rename into place: {}", std::strerror(errno));
}

AtomicFile::AtomicFile(const std::string& path)
    : path_((check_replaceable(path), path)),
      temporary_(fmt::format("{}.{}.tmp", path, ::getpid())),
      file_(temporary_, path) {}

AtomicFile::AtomicFile(const std::string& path, Resume from)
    : path_((check_replaceable(path), path)), temporary_(path + ".partial"), size_(from.size), keep_(true) {
  std::error_code ignored;  // of a file that is not there
  const auto found = from.size > 0 ? std::filesystem::file_size(temporary_, ignored) : 0;
  if (ignored || found < from.size) fail(temporary_, "has less than the {} bytes that were written", from.size);
  file_ = OutputFile(temporary_, path, from.size > 0 ? OutputFile::Content::kKeep : OutputFile::Content::kDiscard);
  file_.resize(from.size);
}

AtomicFile::~AtomicFile() {
  if (!file_.is_open()) return;
  file_.close();
  if (keep_) return;
  ::unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  file_.write_at(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::finish() {
  // The reservation may exceed what was written; the file must not keep blocks beyond its end.
  file_.resize(size_);
  file_.sync();
  rename_into_place(temporary_, path_);
  file_.close();
  sync_folder_of(path_);
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.finish();
}

namespace {

// Pipes, sockets, terminals: what has an end but no size.
bool is_stream(const std::string& path) {
  if (path == "-") return true;
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 &&
         (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode) || S_ISSOCK(status.st_mode));
}

// A named pipe that nobody writes to would be waited for for ever, so it is opened without waiting. Some seconds are
// left to a writer that comes at the same time.
class Stream {
 public:
  explicit Stream(const std::string& path)
      : path_(path), fd_(path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status {};
    if (fd_ < 0 || ::fstat(fd_, &status) != 0) fail(path, "cannot open: {}", std::strerror(errno));
    may_lack_writer_ = path != "-" && S_ISFIFO(status.st_mode);
  }
  Stream(const Stream&) = delete;
  ~Stream() { ::close(fd_); }

  // As read(), with 0 at the end only.
  ssize_t read(std::span<char> to) {
    constexpr int kTries = 50;
    for (int tries = 0;;) {
      const ssize_t n = ::read(fd_, to.data(), to.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) {  // there is a writer
        may_lack_writer_ = false;
        ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
        continue;
      }
      pollfd end{fd_, POLLIN, 0};
      if (n != 0 || !may_lack_writer_ || ::poll(&end, 1, 0) != 0) {  // or there was one
        may_lack_writer_ = false;
        return n;
      }
      if (++tries > kTries) fail(path_, "is a pipe that nobody writes to");
      ::usleep(100'000);
    }
  }

 private:
  const std::string path_;
  const int fd_;
  bool may_lack_writer_ = false;
};

std::string read_stream(const std::string& path) {
  Stream stream(path);
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t n = stream.read(buffer);
    if (n == 0) return text;
    if (n < 0) fail(path, "cannot read: {}", std::strerror(errno));
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.size() > kMaxPiped) fail(path, "more than {} MiB through a pipe: give a file", kMaxPiped >> 20);
  }
}

}  // namespace

std::string read_file(const std::string& path) {
  if (is_stream(path)) return read_stream(path);
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace steelyard
