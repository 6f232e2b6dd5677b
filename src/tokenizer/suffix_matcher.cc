// See suffix_matcher.h.
#include "tokenizer/suffix_matcher.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "base/error.h"

namespace steelyard::tokenizer {

size_t SuffixMatcher::slot_of(uint64_t key) const {
  size_t i = hash_(key) >> shift_;
  while (edges_[i].to != 0 && edges_[i].key != key) i = (i + 1) & (edges_.size() - 1);
  return i;
}

void SuffixMatcher::grow() {
  const std::vector<Edge> before = std::exchange(edges_, std::vector<Edge>(std::max<size_t>(64, 2 * edges_.size())));
  shift_ = 64 - std::countr_zero(edges_.size());
  for (const Edge& edge : before) {
    if (edge.to != 0) edges_[slot_of(edge.key)] = edge;
  }
}

// 0 where there is none.
uint32_t SuffixMatcher::child(uint32_t state, uint8_t byte) const {
  if (state == 0) return from_root_[byte];
  const State& from = states_[state];
  if (from.first != 0 && from.byte == byte) return from.first;
  return from.has_more ? edges_[slot_of(uint64_t{state} << 8 | byte)].to : 0;
}

uint32_t SuffixMatcher::next(uint32_t state, uint8_t byte) const {
  for (;; state = states_[state].fallback) {
    if (const uint32_t to = child(state, byte); to != 0 || state == 0) return to;
  }
}

void SuffixMatcher::add(std::string_view text, TokenId id) {
  uint32_t state = 0;
  for (size_t i = text.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(text[i]);
    uint32_t to = child(state, byte);
    if (to == 0) {
      if (states_.size() >= std::numeric_limits<int32_t>::max()) fail("", "special tokens of 2^31 bytes are too many");
      to = static_cast<uint32_t>(states_.size());
      states_.emplace_back();
      reached_by_.push_back(uint64_t{state} << 8 | byte);
      if (state == 0) {
        from_root_[byte] = to;
      } else if (states_[state].first == 0) {
        states_[state].first = to;
        states_[state].byte = byte;
      } else {
        states_[state].has_more = true;
        if (3 * (n_edges_ + 1) >= 2 * edges_.size()) grow();
        const uint64_t key = reached_by_.back();
        edges_[slot_of(key)] = {key, to};
        ++n_edges_;
      }
    }
    state = to;
  }
  int32_t& word = states_[state].word;
  if (word != kNone) {
    words_[static_cast<size_t>(word)].id = std::min(words_[static_cast<size_t>(word)].id, id);
    return;
  }
  word = static_cast<int32_t>(words_.size());
  words_.push_back({static_cast<uint32_t>(text.size()), id, kNone, kNone, 0});
}

void SuffixMatcher::finish() {
  // By depth: a fallback is less deep than its state, and must be known before.
  std::vector<uint32_t> depth(states_.size()), order(states_.size());
  for (size_t s = 1; s < states_.size(); ++s) {  // a state comes after the one that leads to it
    depth[s] = depth[reached_by_[s] >> 8] + 1;
  }
  std::vector<uint32_t> at(states_.size() + 1);  // counting sort
  for (const uint32_t d : depth) ++at[d + 1];
  for (size_t d = 1; d < at.size(); ++d) at[d] += at[d - 1];
  for (size_t s = 0; s < states_.size(); ++s) order[at[depth[s]]++] = static_cast<uint32_t>(s);

  for (const uint32_t s : order) {
    if (s == 0) continue;
    State& state = states_[s];
    const auto parent = static_cast<uint32_t>(reached_by_[s] >> 8);
    state.fallback = parent == 0 ? 0 : next(states_[parent].fallback, static_cast<uint8_t>(reached_by_[s]));
    const int32_t shorter = states_[state.fallback].longest;
    state.longest = state.word != kNone ? state.word : shorter;
    if (state.word == kNone) continue;
    Word& word = words_[static_cast<size_t>(state.word)];
    word.shorter = shorter;
    word.far = shorter;
    if (shorter == kNone) continue;
    // Jumps double as they do in the skew-binary numbers (Myers 1983, "An applicative random-access stack").
    const Word& one = this->word(shorter);
    word.place = one.place + 1;
    if (one.far == kNone) continue;
    const Word& two = this->word(one.far);
    if (two.far != kNone && one.place - two.place == two.place - this->word(two.far).place) word.far = two.far;
  }
  reached_by_ = {};
}

int32_t SuffixMatcher::longest_within(int32_t index, size_t limit) const {
  while (index != kNone && word(index).length > limit) {
    const int32_t far = word(index).far;
    index = far != kNone && word(far).length > limit ? far : word(index).shorter;
  }
  return index;
}

}  // namespace steelyard::tokenizer
