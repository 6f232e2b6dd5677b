// Memory on disk: a file without a name, gone when the object or the process ends. For activations that exceed their
// memory limit (schedule/layer_sweep.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace steelyard {

class ScratchFile {
 public:
  /// Error if no file can be created in `folder`.
  explicit ScratchFile(const std::string& folder);
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  /// Error (disk full, I/O) names the folder.
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// Error if fewer bytes were written there.
  void read_at(uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::string folder_;
  int fd_ = -1;
};

}  // namespace steelyard
