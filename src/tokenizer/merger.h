// The loop that BPE and SentencePiece share: in a row of symbols, the best pair of neighbours becomes one symbol, until
// no pair merges. Only the meaning of "best" differs: an earlier place in a list of merges, or a higher score of the
// result. A row of n symbols costs O(n log n). Lives for one encode() and keeps its memory between rows.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <queue>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

class Merger {
 public:
  /// A part of the text; `token` is -1 if it is not a token.
  struct Symbol {
    TokenId token;
    uint32_t length;  // bytes, at least 1; 0 once the symbol is part of an earlier one
    size_t begin;     // in the text
    int32_t previous = -1;
    int32_t next = -1;
  };

  /// The result of merging two neighbours. Among several, the highest priority is merged first, then the leftmost.
  struct Merge {
    double priority;
    TokenId result;
  };

  /// Appends a symbol to the row.
  void add(TokenId token, size_t begin, size_t length) {
    symbols_.push_back({token, static_cast<uint32_t>(length), begin});
  }

  /// Merges the row and empties it. `join(left, right)` gives the result of merging two neighbouring symbols, if any
  /// (std::optional<Merge>). `emit(symbol)` is called with the remaining symbols, in order.
  template <typename Join, typename Emit>
  void run(const Join& join, const Emit& emit) {
    const auto n = static_cast<int32_t>(symbols_.size());
    for (int32_t i = 0; i < n; ++i) {
      symbols_[i].previous = i - 1;
      symbols_[i].next = i + 1 < n ? i + 1 : -1;
    }
    const auto consider = [&](int32_t left, int32_t right) {
      const std::optional<Merge> merge = join(symbols_[left], symbols_[right]);
      if (merge) candidates_.push({*merge, left, symbols_[left].length + symbols_[right].length});
    };
    for (int32_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
    while (!candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      Symbol& left = symbols_[best.left];
      // A candidate is stale once either side has merged: that side is gone, or both together are longer than before.
      if (left.length == 0 || left.next < 0 || left.length + symbols_[left.next].length != best.length) continue;
      Symbol& right = symbols_[left.next];
      left.token = best.merge.result;
      left.length = best.length;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) symbols_[left.next].previous = best.left;
      if (left.previous >= 0) consider(left.previous, best.left);
      if (left.next >= 0) consider(best.left, left.next);
    }
    for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = symbols_[i].next) emit(symbols_[i]);
    symbols_.clear();
  }

 private:
  struct Candidate {
    Merge merge;
    int32_t left;
    uint32_t length;
    bool operator<(const Candidate& other) const {  // the queue yields the greatest
      return merge.priority != other.merge.priority ? merge.priority < other.merge.priority : left > other.left;
    }
  };

  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> candidates_;
};

}  // namespace steelyard::tokenizer
