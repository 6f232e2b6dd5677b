#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/system_calls.h"

namespace steelyard {

struct MappedFile::Mapping {
  std::string path, printable_path;
  int fd = -1;  // kept open: its state is asked for, whatever happens to the name
  const std::byte* data = nullptr;
  size_t size = 0;
  bool is_ours = false;
  struct timespec modified {};

  bool has_changed() const {
    struct stat now {};
    return ::fstat(fd, &now) == 0 && (static_cast<size_t>(now.st_size) != size ||
                                      now.st_mtim.tv_sec != modified.tv_sec || now.st_mtim.tv_nsec != modified.tv_nsec);
  }
};

namespace {

// For signal handlers, which can neither lock nor allocate: maps beyond so many are not named.
constexpr size_t kMaxNamed = 1024;
std::array<std::atomic<const MappedFile::Mapping*>, kMaxNamed> named;

// For everyone else.
std::mutex mutex;
std::vector<const MappedFile::Mapping*>& mappings() {
  static std::vector<const MappedFile::Mapping*> all;
  return all;
}

void enter(const MappedFile::Mapping* mapping) {
  const std::lock_guard lock(mutex);
  mappings().push_back(mapping);
  for (std::atomic<const MappedFile::Mapping*>& slot : named) {
    const MappedFile::Mapping* expected = nullptr;
    if (slot.compare_exchange_strong(expected, mapping)) return;
  }
}

void withdraw(const MappedFile::Mapping* mapping) {
  const std::lock_guard lock(mutex);
  std::erase(mappings(), mapping);
  for (std::atomic<const MappedFile::Mapping*>& slot : named) {
    const MappedFile::Mapping* expected = mapping;
    if (slot.compare_exchange_strong(expected, nullptr)) return;
  }
}

void unmap(const MappedFile::Mapping* mapping) {
  if (mapping == nullptr) return;
  withdraw(mapping);
  if (mapping->data != nullptr) ::munmap(const_cast<std::byte*>(mapping->data), mapping->size);
  ::close(mapping->fd);
}

}  // namespace

MappedFile::MappedFile(const std::string& path, Writer writer) : mapping_(std::make_unique<Mapping>()) {
  Mapping& mapping = *mapping_;
  mapping.path = path;
  mapping.printable_path = printable(path, path.size() * 4);
  mapping.is_ours = writer == Writer::kOurs;
  // Without O_NONBLOCK, opening a named pipe would wait for its writer.
  mapping.fd = System::open(path, O_RDONLY | O_NONBLOCK);
  if (mapping.fd < 0) fail(path, "cannot open: {}", std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(mapping.fd, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular) {
    ::close(mapping.fd);
    fail(path, "not a regular file");
  }
  mapping.size = static_cast<size_t>(status.st_size);
  mapping.modified = status.st_mtim;
  void* mapped = mapping.size > 0 ? System::mmap(mapping.size, PROT_READ, MAP_PRIVATE, mapping.fd) : nullptr;
  if (mapped == MAP_FAILED) {
    const int error = errno;
    ::close(mapping.fd);
    fail(path, "cannot map {} bytes: {}", mapping.size, std::strerror(error));
  }
  mapping.data = static_cast<const std::byte*>(mapped);
  enter(&mapping);
}

MappedFile::MappedFile(MappedFile&& other) noexcept = default;

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  return *this;
}

MappedFile::~MappedFile() { unmap(mapping_.get()); }

std::span<const std::byte> MappedFile::bytes() const { return {mapping_->data, mapping_->size}; }

const std::string& MappedFile::path() const { return mapping_->path; }

void MappedFile::will_need(uint64_t begin, uint64_t end) const {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = begin / page * page;
  // One call reads ahead no more than the device's window, 128 KiB by default.
  constexpr uint64_t kWindow = uint64_t{128} << 10;
  for (uint64_t at = first; at < end; at += kWindow) {
    ::madvise(const_cast<std::byte*>(mapping_->data) + at, std::min(kWindow, end - at), MADV_WILLNEED);
  }
}

void MappedFile::release(uint64_t begin, uint64_t end) const {
  // The page at the end may hold data that is read next. The page at the beginning is finished, whatever else it holds.
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t first = begin / page * page, last = end / page * page;
  if (first >= last) return;
  // The kernel keeps pages in its cache as long as they are mapped: unmap them first. Both calls are hints.
  ::madvise(const_cast<std::byte*>(mapping_->data) + first, last - first, MADV_DONTNEED);
  ::posix_fadvise(mapping_->fd, static_cast<off_t>(first), static_cast<off_t>(last - first), POSIX_FADV_DONTNEED);
}

void check_mapped_files_unchanged() {
  const std::lock_guard lock(mutex);
  for (const MappedFile::Mapping* mapping : mappings()) {
    if (!mapping->is_ours && mapping->has_changed()) fail(mapping->path, "was changed while it was read");
  }
}

const char* mapped_path_at(const void* address) noexcept {
  for (const std::atomic<const MappedFile::Mapping*>& slot : named) {
    const MappedFile::Mapping* const mapping = slot;
    if (mapping == nullptr || mapping->data == nullptr) continue;
    // The last page goes on behind the end of the file.
    const auto* const at = static_cast<const std::byte*>(address);
    if (at >= mapping->data && at < mapping->data + mapping->size + 4096) return mapping->printable_path.c_str();
  }
  return nullptr;
}

}  // namespace steelyard
