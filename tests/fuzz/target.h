// What fuzz targets share. A target is one file NAME_fuzz.cc with LLVMFuzzerTestOneInput: it does with an input what a
// program does with a file. Anything but an Error of one line is a finding. docs/fuzzing.md says how targets run.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
/// Of libFuzzer, or of replay.cc.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace steelyard::fuzz {

/// Bytes as a file that has a path but no place on disk. A target keeps one and sets it for each input, which takes
/// some microseconds.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) { STEELYARD_CHECK(fd_ >= 0); }
  MemoryFile(const void* data, size_t size) : MemoryFile() { set(data, size); }
  explicit MemoryFile(std::string_view content) : MemoryFile(content.data(), content.size()) {}
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }

  void set(const void* data, size_t size) {
    STEELYARD_CHECK(::ftruncate(fd_, static_cast<off_t>(size)) == 0);
    write(data, size, 0);
  }

  /// The same with kFill behind it, up to a fixed size: the data of tensors whose headers are the input. Cheaper than
  /// to write it each time.
  void set_with_data(const void* data, size_t size, size_t total) {
    size = std::min(size, total);
    if (total_ != total) {
      const std::string fill(total, kFill);
      set(fill.data(), total);
      total_ = total;
    }
    write(data, size, 0);
    if (size < last_) {
      const std::string fill(last_ - size, kFill);
      write(fill.data(), fill.size(), size);
    }
    last_ = size;
  }

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  /// Makes floats of 0.75, halves of 1.8, and so on: numbers that are what a model may have.
  static constexpr char kFill = 0x3f;

 private:
  void write(const void* data, size_t size, size_t at) {
    STEELYARD_CHECK(::pwrite(fd_, data, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size));
  }

  int fd_;
  size_t total_ = 0, last_ = 0;  // of set_with_data
};

/// Everything that depends on the content of an input goes here, so that no read is optimised away.
inline volatile uint64_t g_sink;

/// True if there was no error.
template <typename Action>
bool allow_errors(const Action& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    STEELYARD_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    return false;
  }
}

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace steelyard::fuzz
