// Memory that the statistics of a stage share, and behind it a scratch file: what has no room goes there. Used by
// HessianSums and StoredRows.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "base/scratch_file.h"

namespace steelyard::calibrate {

/// Thread-safe.
class SpillSpace {
 public:
  SpillSpace(uint64_t memory, std::string scratch_folder) : left_(memory), folder_(std::move(scratch_folder)) {}

  /// Takes so many bytes of the memory, until they are given back. Returns false if there are fewer.
  bool reserve(uint64_t bytes);
  void give_back(uint64_t bytes);
  /// Writes behind what is in the scratch file; returns where that is.
  uint64_t spill(std::span<const float> values);
  void read(uint64_t offset, std::span<float> values) const;

 private:
  std::mutex mutex_;
  uint64_t left_, file_end_ = 0;
  std::string folder_;
  std::unique_ptr<ScratchFile> file_;
};

}  // namespace steelyard::calibrate
