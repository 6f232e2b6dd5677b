// Which tasks of a file are scored when not all are: the random choice of llama-perplexity, in work that grows with the
// number of tasks that are chosen. Used by choice_files.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace steelyard::evaluate {

/// The tasks to use: all in order, or a random choice.
class ChosenTasks {
 public:
  /// max_tasks: 0 for all.
  ChosenTasks(size_t count, int64_t max_tasks);
  size_t size() const { return size_; }
  bool are_all() const { return drawn_.empty(); }
  /// The number of the i-th.
  size_t operator[](size_t i) const { return drawn_.empty() ? i : drawn_[i]; }

 private:
  size_t size_;
  std::vector<size_t> drawn_;
};

/// The numbers below `count` that have not been taken yet, in order: a Fenwick tree of how many are left, so that
/// taking one of them takes O(log n).
class Remaining {
 public:
  explicit Remaining(size_t count);
  size_t size() const { return size_; }

  /// The number that has `before` others left before it.
  size_t take(size_t before);

 private:
  size_t size_;
  std::vector<size_t> left_;  // [i]: of the last (i & -i) of the first i numbers
};

}  // namespace steelyard::evaluate
