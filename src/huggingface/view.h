// A view of a weight's values in another order: all that a change of names and layouts between checkpoints and GGUF
// does to a matrix is to split its dimensions, swap them, take a part of them, and put them together again. So no value
// is moved before it is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "huggingface/stored_weight.h"

namespace steelyard::huggingface {

/// `count` places, `step` values of the weight apart.
struct Axis {
  int64_t count;
  int64_t step;
};

class View {
 public:
  explicit View(const StoredWeight& weight);

  const StoredWeight& weight() const { return *weight_; }
  /// Lengths, outermost first.
  std::vector<int64_t> shape() const;

  // All give a new view; dimension i counts from 0, the outermost. Error naming the weight where it does not divide, or
  // where a part lies outside.

  /// Cuts a dimension into several; one length may be -1: what is left.
  View split(size_t i, std::vector<int64_t> lengths) const;
  /// The opposite: dimensions i to i + n - 1 become one.
  View merge(size_t i, size_t n) const;
  View swap(size_t i, size_t j) const;
  /// `n` places from `begin` on, each `by` apart.
  View slice(size_t i, int64_t begin, int64_t n, int64_t by = 1) const;
  /// Without dimensions of length 1.
  View squeeze() const;

  /// Its values are so many runs of values that are equally far from one another.
  int64_t n_runs() const;
  const Axis& run() const { return dims_.back().back(); }
  /// The first value of a run.
  int64_t run_begin(int64_t run) const;
  /// Whether all are neighbours in the weight.
  bool is_contiguous() const;

 private:
  [[noreturn]] void reject(size_t i) const;

  const StoredWeight* weight_;
  int64_t first_ = 0;
  std::vector<std::vector<Axis>> dims_;  // each made of axes, outermost first; none is empty
};

}  // namespace steelyard::huggingface
