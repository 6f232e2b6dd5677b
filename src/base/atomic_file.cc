#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

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

std::string read_stream(const std::string& path) {
  const int fd = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "cannot open: {}", std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* open) { ::close(*open); });
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n == 0) return text;
    if (n < 0 && errno != EINTR) fail(path, "cannot read: {}", std::strerror(errno));
    if (n < 0) continue;
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
