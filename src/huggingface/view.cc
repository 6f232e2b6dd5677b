#include "huggingface/view.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::huggingface {
namespace {

int64_t length(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& axis : axes) n *= axis.count;
  return n;
}

}  // namespace

View::View(const StoredWeight& weight) : weight_(&weight) {
  int64_t step = 1;
  for (size_t i = weight.shape().size(); i-- > 0; step *= weight.shape()[i])
    dims_.insert(dims_.begin(), {Axis{weight.shape()[i], step}});
  if (dims_.empty()) dims_.push_back({Axis{1, 1}});
}

std::vector<int64_t> View::shape() const {
  std::vector<int64_t> shape;
  for (const auto& dim : dims_) shape.push_back(length(dim));
  return shape;
}

void View::reject(size_t i) const {
  fail("", "tensor '{}': found {}, of which dimension {} does not divide as its architecture has it",
       printable(weight_->name()), shape_string(weight_->shape()), i);
}

View View::split(size_t i, std::vector<int64_t> lengths) const {
  if (i >= dims_.size() || dims_[i].size() != 1) reject(i);
  const Axis whole = dims_[i].front();
  int64_t known = 1;
  for (const int64_t n : lengths) known *= n < 0 ? 1 : n;
  for (int64_t& n : lengths) {
    if (n < 0) n = known > 0 ? whole.count / known : 0;
  }
  const int64_t product = std::accumulate(lengths.begin(), lengths.end(), int64_t{1}, std::multiplies());
  if (known < 1 || product != whole.count) reject(i);
  View view = *this;
  view.dims_.erase(view.dims_.begin() + static_cast<std::ptrdiff_t>(i));
  int64_t step = whole.step;
  for (size_t k = lengths.size(); k-- > 0; step *= lengths[k])
    view.dims_.insert(view.dims_.begin() + static_cast<std::ptrdiff_t>(i), {Axis{lengths[k], step}});
  return view;
}

View View::merge(size_t i, size_t n) const {
  STEELYARD_CHECK(n > 0 && i + n <= dims_.size());
  View view = *this;
  for (size_t k = 1; k < n; ++k) {
    auto& next = view.dims_[i + 1];
    view.dims_[i].insert(view.dims_[i].end(), next.begin(), next.end());
    view.dims_.erase(view.dims_.begin() + static_cast<std::ptrdiff_t>(i + 1));
  }
  return view;
}

View View::swap(size_t i, size_t j) const {
  if (std::max(i, j) >= dims_.size()) reject(i);
  View view = *this;
  std::swap(view.dims_[i], view.dims_[j]);
  return view;
}

View View::slice(size_t i, int64_t begin, int64_t n, int64_t by) const {
  if (i >= dims_.size() || dims_[i].size() != 1 || begin < 0 || n < 0 || by < 1) reject(i);
  const Axis whole = dims_[i].front();
  if (n > 0 && (n > whole.count || begin + (n - 1) * by >= whole.count)) reject(i);
  View view = *this;
  view.first_ += begin * whole.step;
  view.dims_[i] = {Axis{n, whole.step * by}};
  return view;
}

View View::squeeze() const {
  View view = *this;
  std::erase_if(view.dims_, [](const std::vector<Axis>& dim) { return length(dim) == 1; });
  if (view.dims_.empty()) view.dims_.push_back({Axis{1, 1}});
  return view;
}

int64_t View::n_runs() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < dims_.size(); ++i) n *= length(dims_[i]);
  const auto& last = dims_.back();
  for (size_t k = 0; k + 1 < last.size(); ++k) n *= last[k].count;
  return n;
}

int64_t View::run_begin(int64_t run) const {
  int64_t at = first_;
  const auto take = [&](const Axis& axis) {
    at += run % axis.count * axis.step;
    run /= axis.count;
  };
  for (size_t k = dims_.back().size() - 1; k-- > 0;) take(dims_.back()[k]);
  for (size_t i = dims_.size() - 1; i-- > 0;) {
    for (size_t k = dims_[i].size(); k-- > 0;) take(dims_[i][k]);
  }
  return at;
}

bool View::is_contiguous() const {
  int64_t step = 1;
  for (size_t i = dims_.size(); i-- > 0;) {
    for (size_t k = dims_[i].size(); k-- > 0; step *= dims_[i][k].count) {
      if (dims_[i][k].count != 1 && dims_[i][k].step != step) return false;
    }
  }
  return true;
}

}  // namespace steelyard::huggingface
