// The order of these sums is part of a quantization's bytes.
#include "calibrate/slice_hessians.h"

#include <algorithm>

#include "base/check.h"
#include "base/parallel.h"
#include "base/together.h"

namespace steelyard::calibrate {
namespace {

constexpr int64_t kValues = 1 << 14;  // that a thread takes at a time

template <class Body>
void in_parts(size_t n, const Body& body) {
  const auto size = static_cast<int64_t>(n);
  parallel_for((size + kValues - 1) / kValues, 1, [&](int64_t part) {
    for (int64_t i = part * kValues; i < std::min(size, (part + 1) * kValues); ++i) body(static_cast<size_t>(i));
  });
}

void add(std::span<const float> from, std::vector<float>& to) {
  to.resize(from.size());
  in_parts(from.size(), [&](size_t i) { to[i] += from[i]; });
}

}  // namespace

const SliceHessians::Means& SliceHessians::pooled() const {
  std::call_once(is_pooled_, [this] {
    add_slices([](int64_t) { return true; }, pooled_);
    divide(pooled_);
  });
  return pooled_;
}

void SliceHessians::add_slices(const std::function<bool(int64_t slice)>& wanted, Means& sums) const {
  for (int64_t s = 0; s < n_slices(); ++s) {
    if (!wanted(s)) continue;
    const SliceSums of = of_slice(s);
    add(of.hessian, sums.hessian);
    add(of.cross_covariance, sums.cross_covariance);
  }
}

void SliceHessians::set_pooled(Means sums) const {
  std::call_once(is_pooled_, [&] {
    pooled_ = std::move(sums);
    divide(pooled_);
  });
}

void SliceHessians::divide(Means& sums) const {
  double total = 0.0;
  for (const int64_t n : counts()) total += static_cast<double>(n);
  for (std::vector<float>* means : {&sums.hessian, &sums.cross_covariance}) {
    in_parts(means->size(), [&](size_t i) {
      float& value = (*means)[i];
      value = total > 0.0 ? value / static_cast<float>(total) : 0.0f;
    });
  }
}

HessianSums::~HessianSums() {
  if (space_ != nullptr && !spilled_) space_->give_back(n_bytes());
}

void HessianSums::keep_in(std::shared_ptr<SpillSpace> space) {
  STEELYARD_CHECK(space_ == nullptr);
  space_ = std::move(space);
  if (space_->reserve(n_bytes())) return;
  spilled_ = {space_->spill(sums_), sums_.size(), cross_covariance_.size()};
  space_->spill(cross_covariance_);
  sums_ = {};
  cross_covariance_ = {};
}

SliceSums HessianSums::of_slice(int64_t slice) const {
  if (!spilled_) return {part(sums_, slice), part(cross_covariance_, slice), {}};
  const auto n = static_cast<size_t>(n_slices()), n_sums = spilled_->n_sums / n, n_cross = spilled_->n_cross / n;
  const size_t n_bytes = (n_sums + n_cross) * sizeof(float);
  const compute::Buffer memory(new std::byte[n_bytes], std::default_delete<std::byte[]>());
  const std::span values(reinterpret_cast<float*>(memory.get()), n_sums + n_cross);
  const auto at = static_cast<uint64_t>(slice) * sizeof(float);
  space_->read(spilled_->offset + at * n_sums, values.first(n_sums));
  space_->read(spilled_->offset + spilled_->n_sums * sizeof(float) + at * n_cross, values.subspan(n_sums));
  return {values.first(n_sums), values.subspan(n_sums), memory};
}

}  // namespace steelyard::calibrate
