// What is known of the inputs of a linear: for each of its slices, which are experts or heads, the sum of x x^T over
// the inputs x in the quantized model, and the cross-covariance, the sum of (y - x) x^T, where y is the same input in
// the original model. Both are as large as the square of a layer's width. So there is one way to hold them for all
// slices (HessianSums), and one that makes those of a slice when its turn comes (stored_rows.h). Whoever rounds a
// tensor sees neither, nor what lies in a scratch file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/spill_space.h"
#include "compute/backend.h"

namespace steelyard::calibrate {

/// The sums of one slice. What the spans point to is the collection's or `memory`.
struct SliceSums {
  std::span<const float> hessian;           ///< [n, n] of x x^T
  std::span<const float> cross_covariance;  ///< [n, n] of (y - x) x^T, as [y][x]; empty where y was not known
  compute::Buffer memory;
};

class SliceHessians {
 public:
  /// counts: inputs of each slice.
  SliceHessians(int64_t n, std::vector<int64_t> counts) : n_(n), counts_(std::move(counts)) {}
  SliceHessians(const SliceHessians&) = delete;
  virtual ~SliceHessians() = default;

  int64_t n() const { return n_; }
  int64_t n_slices() const { return static_cast<int64_t>(counts_.size()); }
  int64_t count(int64_t slice) const { return counts_[static_cast<size_t>(slice)]; }
  std::span<const int64_t> counts() const { return counts_; }

  /// Thread-safe, and parallel inside.
  virtual SliceSums of_slice(int64_t slice) const = 0;
  /// How many slices are made at the same time on devices; 1: they are parallel inside.
  virtual int64_t n_together() const { return 1; }

  /// The means over the inputs of all slices: their sums are added in the order of slices. Zeros without inputs.
  struct Means {
    std::vector<float> hessian, cross_covariance;
  };
  /// Made when it is first asked for. Thread-safe, and parallel inside.
  const Means& pooled() const;
  /// The same in two steps, where slices have several owners: sums of the slices that are `wanted` are added, in their
  /// order, and what all of them are in the end becomes the means.
  void add_slices(const std::function<bool(int64_t slice)>& wanted, Means& sums) const;
  void set_pooled(Means sums) const;

  /// Slices are dealt out to ranks (layer_sharing.h), in ranges, or all to one: who has their sums.
  void deal(int n_ranks, int owner_of_all) {
    n_ranks_ = n_ranks;
    owner_of_all_ = owner_of_all;
  }
  int owner(int64_t slice) const {
    return owner_of_all_ >= 0 ? owner_of_all_ : owner_of_slice(slice, n_slices(), n_ranks_);
  }
  /// Of slices in ranges.
  static int owner_of_slice(int64_t slice, int64_t n_slices, int n_ranks) {
    return static_cast<int>(slice * n_ranks / n_slices);
  }

 protected:
  void add_inputs(int64_t slice, int64_t n) { counts_[static_cast<size_t>(slice)] += n; }

 private:
  void divide(Means& sums) const;

  int64_t n_;
  std::vector<int64_t> counts_;
  mutable std::once_flag is_pooled_;
  mutable Means pooled_;
  int n_ranks_ = 1, owner_of_all_ = 0;
};

/// All slices in memory.
class HessianSums : public SliceHessians {
 public:
  /// sums, cross_covariance: [n_slices, n, n]; cross_covariance may be empty.
  HessianSums(int64_t n, std::vector<int64_t> counts, std::vector<float> sums, std::vector<float> cross_covariance)
      : SliceHessians(n, std::move(counts)), sums_(std::move(sums)), cross_covariance_(std::move(cross_covariance)) {}

  ~HessianSums() override;

  /// Finds room there, or in its scratch file.
  void keep_in(std::shared_ptr<SpillSpace> space);

  SliceSums of_slice(int64_t slice) const override;
  /// Of all slices, where they are in memory.
  std::span<const float> sums() const { return sums_; }
  std::span<const float> cross_covariance() const { return cross_covariance_; }

 private:
  uint64_t n_bytes() const { return (sums_.size() + cross_covariance_.size()) * sizeof(float); }
  std::span<const float> part(const std::vector<float>& of, int64_t slice) const {
    const size_t size = of.size() / static_cast<size_t>(n_slices());
    return std::span(of).subspan(static_cast<size_t>(slice) * size, size);
  }

  std::vector<float> sums_, cross_covariance_;
  std::shared_ptr<SpillSpace> space_;  // that it has a part of
  struct Spilled {
    uint64_t offset;  // of the sums; cross_covariance lies behind them
    size_t n_sums, n_cross;
  };
  std::optional<Spilled> spilled_;
};

}  // namespace steelyard::calibrate
