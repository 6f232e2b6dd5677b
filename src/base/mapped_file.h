// A read-only memory map of a whole file. Pages come and go with the kernel's page cache, so a model larger than memory
// can be mapped.
//
// The price: a page is read when it is used, maybe hours after the file was opened. So every map is known to the
// process. When a file has become shorter, the signal names it (signals.h); and what was made from maps is published
// only if no mapped file has changed meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace steelyard {

class MappedFile {
 public:
  /// kOurs: this process writes the file itself, so its changes are no surprise.
  enum class Writer { kOthers, kOurs };

  /// Maps `path`. Error if it cannot be opened, is not a regular file, or cannot be mapped. An empty file maps to an
  /// empty span.
  explicit MappedFile(const std::string& path, Writer writer = Writer::kOthers);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const;
  const std::string& path() const;

  /// Starts the reading of a range that will be needed soon.
  void will_need(uint64_t begin, uint64_t end) const;
  /// Releases the memory of a range that has been read to the kernel. Reading it again reads the file again.
  void release(uint64_t begin, uint64_t end) const;

  /// What the process knows of a map.
  struct Mapping;

 private:
  std::unique_ptr<Mapping> mapping_;
};

/// Error naming a file that others write, is mapped, and was changed since: what was read from it is of no file. Called
/// before results are published; AtomicFile does it for those that it writes.
void check_mapped_files_unchanged();

/// The file that is mapped at `address`, safe to print; null if there is none. For signal handlers.
const char* mapped_path_at(const void* address) noexcept;

}  // namespace steelyard
