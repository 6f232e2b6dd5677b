// Blocks of positions that are pooled to one row each: what those are pooled from that are not complete yet.
#pragma once

#include <algorithm>

#include "model/forward.h"

namespace steelyard::model {

/// The state of a compressor: rows of the positions of a sequence's incomplete block, or of that and of the block
/// before it.
class PendingBlocks {
 public:
  /// n_blocks: 1, or 2 with the block before. Regions of `state`, one for each call of joined(), hold
  /// n_rows(n_blocks, block) rows each.
  PendingBlocks(int64_t block, int64_t n_blocks, const SequenceSlice& sequence, float* state, ForwardContext& ctx)
      : block_(block), n_blocks_(n_blocks), sequence_(sequence), next_(state), ctx_(ctx) {}

  /// At most, at a time.
  static int64_t n_rows(int64_t n_blocks, int64_t block) { return n_blocks * block - 1; }

  /// The block that the rows of joined() begin with.
  int64_t first_block() const { return first_block(sequence_.first_position); }
  /// Blocks from begin() to end() become complete with the sequence's rows.
  int64_t begin() const { return sequence_.first_position / block_; }
  int64_t end() const { return (sequence_.first_position + sequence_.n_rows) / block_; }

  /// The sequence's rows of x after those that the state has; what is still pending then replaces these.
  Matrix joined(Matrix x) {
    const int64_t n_before = n_pending(sequence_.first_position);
    const int64_t n_after = n_pending(sequence_.first_position + sequence_.n_rows);
    const Matrix state{next_, n_rows(n_blocks_, block_), x.cols, x.cols};
    next_ += state.rows * state.cols;
    const Matrix all = ctx_.scratch.matrix(n_before + sequence_.n_rows, x.cols);
    if (n_before > 0) ctx_.backend.copy(state.slice(0, n_before), all.slice(0, n_before));
    ctx_.backend.copy(x.slice(sequence_.first_row, sequence_.n_rows), all.slice(n_before, sequence_.n_rows));
    if (n_after > 0) ctx_.backend.copy(all.slice(all.rows - n_after, n_after), state.slice(0, n_after));
    return all;
  }

 private:
  int64_t first_block(int64_t position) const { return std::max<int64_t>(0, position / block_ - (n_blocks_ - 1)); }
  int64_t n_pending(int64_t position) const { return position - first_block(position) * block_; }

  int64_t block_;
  int64_t n_blocks_;
  const SequenceSlice& sequence_;
  float* next_;
  ForwardContext& ctx_;
};

}  // namespace steelyard::model
