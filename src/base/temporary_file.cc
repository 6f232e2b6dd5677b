#include "base/temporary_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/system_calls.h"

namespace steelyard {
namespace {

// A signal handler may neither lock nor allocate. Names beyond so many are removed by their objects only.
constexpr size_t kMaxNames = 256;
std::array<std::atomic<std::string*>, kMaxNames> names;

void enter(std::string* path) {
  for (std::atomic<std::string*>& slot : names) {
    std::string* expected = nullptr;
    if (slot.compare_exchange_strong(expected, path)) return;
  }
}

void withdraw(std::string* path) {
  for (std::atomic<std::string*>& slot : names) {
    std::string* expected = path;
    if (slot.compare_exchange_strong(expected, nullptr)) return;
  }
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& path) : path_(std::make_unique<std::string>(path)) {
  enter(path_.get());
}

TemporaryFile& TemporaryFile::operator=(TemporaryFile&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::move(other.path_);
  }
  return *this;
}

void TemporaryFile::remove() {
  if (path_ == nullptr) return;
  System::unlink(*path_);  // there may be none
  keep();
}

void TemporaryFile::keep() {
  if (path_ == nullptr) return;
  withdraw(path_.get());
  path_.reset();
}

void remove_temporary_files() noexcept {
  for (std::atomic<std::string*>& slot : names) {
    const std::string* const path = slot.exchange(nullptr);
    if (path != nullptr) ::unlink(path->c_str());
  }
}

void remove_file(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT) return;
  if (S_ISDIR(status.st_mode)) fail(path, "cannot remove: is a folder");
  if (System::remove(path) != 0 && errno != ENOENT) fail(path, "cannot remove: {}", std::strerror(errno));
}

}  // namespace steelyard
