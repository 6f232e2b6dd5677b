// Finds out that a text has begun to repeat itself, as texts of small models do: the same words again and again.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace steelyard::generate {

class RepetitionDetector {
 public:
  /// The longest period that is found, in tokens.
  static constexpr int64_t kMaxPeriod = 64;
  /// A loop has repeated itself at least kRepeats times, and at least kTokens tokens. Tables and verse repeat less.
  static constexpr int64_t kRepeats = 3, kTokens = 32;

  void clear();

  /// The text goes on with `id`. Returns how many of its last tokens are superfluous: 0 while it does not loop, else
  /// all but the loop's first two rounds.
  int64_t push(tokenizer::TokenId id);

 private:
  std::vector<tokenizer::TokenId> ids_;
  std::array<int64_t, kMaxPeriod + 1> repeated_ = {};  // [period]: how many last tokens equal those a period before
};

}  // namespace steelyard::generate
