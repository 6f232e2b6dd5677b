#include "base/system_calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

namespace steelyard {
namespace {

// Of the FailingCalls that lives.
struct Failure {
  std::atomic<bool> counts{false};
  std::atomic<int64_t> n_calls{0}, nth{0};
  std::atomic<int> error{0};
  std::atomic<bool> from_then_on{false};
  std::atomic<const char*> name{""};
};
Failure failure;

// Whether this call is to fail; sets errno.
bool fails(const char* call_name) {
  if (!failure.counts.load(std::memory_order_relaxed)) return false;
  const int64_t call = ++failure.n_calls, nth = failure.nth;
  if (nth == 0 || call < nth || (call > nth && !failure.from_then_on)) return false;
  if (call == nth) failure.name = call_name;
  errno = failure.error;
  return true;
}

}  // namespace

int System::open(const std::string& path, int flags, mode_t mode) {
  return fails("open") ? -1 : ::open(path.c_str(), flags | O_CLOEXEC, mode);
}
ssize_t System::read(int fd, void* bytes, size_t count) { return fails("read") ? -1 : ::read(fd, bytes, count); }
ssize_t System::pread(int fd, void* bytes, size_t count, off_t offset) {
  return fails("pread") ? -1 : ::pread(fd, bytes, count, offset);
}
ssize_t System::write(int fd, const void* bytes, size_t count) {
  return fails("write") ? -1 : ::write(fd, bytes, count);
}
ssize_t System::pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return fails("pwrite") ? -1 : ::pwrite(fd, bytes, count, offset);
}
int System::ftruncate(int fd, off_t length) { return fails("ftruncate") ? -1 : ::ftruncate(fd, length); }
int System::fallocate(int fd, int mode, off_t offset, off_t length) {
  return fails("fallocate") ? -1 : ::fallocate(fd, mode, offset, length);
}
int System::fsync(int fd) { return fails("fsync") ? -1 : ::fsync(fd); }
int System::fdatasync(int fd) { return fails("fdatasync") ? -1 : ::fdatasync(fd); }
int System::flock(int fd, int operation) { return fails("flock") ? -1 : ::flock(fd, operation); }
int System::rename(const std::string& from, const std::string& to) {
  return fails("rename") ? -1 : ::rename(from.c_str(), to.c_str());
}
int System::unlink(const std::string& path) { return fails("unlink") ? -1 : ::unlink(path.c_str()); }
int System::remove(const std::string& path) { return fails("remove") ? -1 : ::remove(path.c_str()); }
void* System::mmap(size_t length, int protection, int flags, int fd) {
  return fails("mmap") ? MAP_FAILED : ::mmap(nullptr, length, protection, flags, fd, 0);
}

FailingCalls::FailingCalls(int64_t nth, int error, bool from_then_on) {
  failure.n_calls = 0;
  failure.name = "";
  failure.nth = nth;
  failure.error = error;
  failure.from_then_on = from_then_on;
  failure.counts = true;
}

FailingCalls::~FailingCalls() { failure.counts = false; }

int64_t FailingCalls::n_calls() const { return failure.n_calls; }

std::string FailingCalls::failed() const { return failure.name.load(); }

}  // namespace steelyard
