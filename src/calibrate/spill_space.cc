#include "calibrate/spill_space.h"

namespace steelyard::calibrate {

bool SpillSpace::reserve(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > left_) return false;
  left_ -= bytes;
  return true;
}

void SpillSpace::give_back(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  left_ += bytes;
}

uint64_t SpillSpace::spill(std::span<const float> values) {
  const std::lock_guard lock(mutex_);
  if (file_ == nullptr) file_ = std::make_unique<ScratchFile>(folder_);
  file_->write_at(file_end_, std::as_bytes(values));
  file_end_ += values.size_bytes();
  return file_end_ - values.size_bytes();
}

void SpillSpace::read(uint64_t offset, std::span<float> values) const {
  file_->read_at(offset, std::as_writable_bytes(values));
}

}  // namespace steelyard::calibrate
