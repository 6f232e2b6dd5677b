#include "generate/repetition.h"

#include <algorithm>

namespace steelyard::generate {

void RepetitionDetector::clear() {
  ids_.clear();
  repeated_ = {};
}

int64_t RepetitionDetector::push(tokenizer::TokenId id) {
  const int64_t n = std::ssize(ids_);
  ids_.push_back(id);
  for (int64_t period = 1; period <= std::min(kMaxPeriod, n); ++period) {
    int64_t& repeated = repeated_[static_cast<size_t>(period)];
    repeated = ids_[static_cast<size_t>(n - period)] == id ? repeated + 1 : 0;
    if (repeated >= std::max(kRepeats * period, kTokens)) return repeated - period;
  }
  return 0;
}

}  // namespace steelyard::generate
