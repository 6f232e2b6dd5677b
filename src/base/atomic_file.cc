#include "base/atomic_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_target.h"
#include "base/system_calls.h"

namespace steelyard {
namespace {

// Nobody can foresee the name, and it must be new, so nothing that others put there is written to.
std::string random_name(const std::string& target) {
  uint32_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) number = static_cast<uint32_t>(::getpid());
  return fmt::format("{}.{:06x}.tmp", target, number & 0xFFFFFF);
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path)
    : target_(output_target(path)), path_(random_name(target_)), file_(path_, target_, OutputFile::Content::kNew) {
  temporary_ = TemporaryFile(path_);
}

AtomicFile::AtomicFile(const std::string& path, Resume from)
    : target_(output_target(path)), path_(target_ + ".partial"), size_(from.size) {
  std::error_code absent;
  const auto found = std::filesystem::file_size(path_, absent);
  if (from.complete && absent && std::filesystem::file_size(target_, absent) == from.size && !absent) {
    renamed_ = true;
    return;
  }
  if (from.size > 0 && (absent || found < from.size)) {
    fail(path_, "has less than the {} bytes that were written", from.size);
  }
  if (from.size == 0 && !from.ours && !absent) {
    fail(path_, "exists, and no interrupted run speaks of it; remove it to begin");
  }
  file_ = OutputFile(path_, target_, from.size > 0 ? OutputFile::Content::kKeep : OutputFile::Content::kDiscard);
  if (from.size == 0) temporary_ = TemporaryFile(path_);
  file_.resize(from.size);
}

AtomicFile::~AtomicFile() = default;

void AtomicFile::append(std::span<const std::byte> bytes) {
  STEELYARD_CHECK(!renamed_);
  file_.write_at(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::reserve(uint64_t bytes) {
  if (!renamed_) file_.reserve(bytes);
}

void AtomicFile::sync() {
  if (!renamed_) file_.sync();
}

void AtomicFile::finish() { finish_locked(); }

OutputFile AtomicFile::finish_locked() {
  check_mapped_files_unchanged();
  if (renamed_) return {};
  // The reservation may exceed what was written; the file must not keep blocks beyond its end.
  file_.resize(size_);
  file_.sync();
  rename_into_place(path_, target_);
  temporary_.keep();
  sync_folder_of(target_);
  return std::move(file_);
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
      : path_(path), fd_(path == "-" ? ::dup(STDIN_FILENO) : System::open(path, O_RDONLY | O_NONBLOCK)) {
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
      const ssize_t n = System::read(fd_, to.data(), to.size());
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
