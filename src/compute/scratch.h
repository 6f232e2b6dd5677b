// Memory for what lives as long as a pass through one layer: allocated piece by piece, released all at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "compute/backend.h"

namespace steelyard::compute {

class Scratch {
 public:
  static constexpr size_t kBlock = size_t{16} << 20;  ///< bytes that are taken of the backend at least

  explicit Scratch(Backend& backend) : backend_(backend) {}

  /// Uninitialised; valid until the next reset().
  Matrix matrix(int64_t rows, int64_t cols) { return {array<float>(rows * cols), rows, cols, cols}; }

  template <typename T>
  T* array(int64_t n) {
    return reinterpret_cast<T*>(take(static_cast<size_t>(n) * sizeof(T)));
  }

  /// Releases everything. After the first layer all later ones fit into one block.
  void reset() {
    if (blocks_.size() > 1) {
      size_t total = 0;
      for (const Block& block : blocks_) total += block.size;
      blocks_.clear();
      blocks_.push_back({backend_.allocate(total), total});
    }
    used_ = 0;
  }

 private:
  struct Block {
    Buffer memory;
    size_t size;
  };

  std::byte* take(size_t bytes) {
    constexpr size_t kAlignment = 64;
    bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (blocks_.empty() || used_ + bytes > blocks_.back().size) {
      const size_t size = std::max(bytes, kBlock);
      blocks_.push_back({backend_.allocate(size), size});
      used_ = 0;
    }
    std::byte* piece = blocks_.back().memory.get() + used_;
    used_ += bytes;
    return piece;
  }

  Backend& backend_;
  std::vector<Block> blocks_;
  size_t used_ = 0;  // bytes taken of the last block
};

}  // namespace steelyard::compute
