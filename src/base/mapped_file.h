// A read-only memory map of a whole file. Pages come and go with the kernel's page cache, so a model larger than memory
// can be mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace steelyard {

class MappedFile {
 public:
  /// Maps `path`. Error if it cannot be opened, is not a regular file, or cannot be mapped. An empty file maps to an
  /// empty span.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  /// Starts the reading of a range that will be needed soon.
  void will_need(uint64_t begin, uint64_t end) const;
  /// Releases the memory of a range that has been read to the kernel. Reading it again reads the file again.
  void release(uint64_t begin, uint64_t end) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace steelyard
