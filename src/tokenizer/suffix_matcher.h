// At every position of a text: the longest word of a list that begins there, and the shorter ones that do as well.
//
// The automaton of Aho and Corasick ("Efficient string matching", 1975) over reversed words, which reads the text from
// its end: a word that begins at a position is then a suffix of what has been read. A text of n bytes takes O(n) steps,
// however long the words are and however they contain each other. Called by SpecialTokens and
// chat::Marks.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/text_hash.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

class SuffixMatcher {
 public:
  /// A word of the list. Those that begin a word, and are words themselves, form a chain from the longest to the
  /// shortest.
  struct Word {
    uint32_t length;  // bytes
    TokenId id;       // of tokens with this text the lowest
    int32_t shorter;  // the next of the chain; kNone at its end
    int32_t far;      // some later one of the chain, so that a search takes few steps
    uint32_t place;   // in the chain, counted from its end
  };
  static constexpr int32_t kNone = -1;

  /// Not empty.
  void add(std::string_view text, TokenId id);
  /// After all were added.
  void finish();

  bool empty() const { return words_.empty(); }
  const Word& word(int32_t index) const { return words_[static_cast<size_t>(index)]; }

  /// found(position, index of the longest word there), from the last position to the first, for those that have one.
  template <typename Found>
  void match(std::string_view text, const Found& found) const {
    uint32_t state = 0;
    for (size_t i = text.size(); i-- > 0;) {
      const auto byte = static_cast<uint8_t>(text[i]);
      state = next(state, byte);
      if (const int32_t word = states_[state].longest; word != kNone) found(i, word);
    }
  }

  /// The longest of the chain of `index` that has at most `limit` bytes; kNone where all have more.
  int32_t longest_within(int32_t index, size_t limit) const;

 private:
  struct State {
    uint32_t fallback = 0;    // the state of the longest proper suffix that is one
    int32_t word = kNone;     // that ends here
    int32_t longest = kNone;  // of the words that are suffixes
    // Most states have one edge. Then a long word is read in order of memory.
    uint32_t first = 0;  // where it leads; 0: none
    uint8_t byte = 0;
    bool has_more = false;  // in edges_
  };
  struct Edge {
    uint64_t key = 0;  // state << 8 | byte
    uint32_t to = 0;   // 0: no edge, because none leads back to the root
  };

  uint32_t child(uint32_t state, uint8_t byte) const;
  uint32_t next(uint32_t state, uint8_t byte) const;
  size_t slot_of(uint64_t key) const;
  void grow();

  std::vector<Word> words_;
  std::vector<State> states_ = std::vector<State>(1);  // the root first
  std::vector<uint64_t> reached_by_ = {0};             // the edge that leads to a state, until finish()
  std::array<uint32_t, 256> from_root_{};
  // Further edges from other states, with open addressing. The size is a power of two, and at least a third is empty.
  std::vector<Edge> edges_;
  size_t n_edges_ = 0;
  int shift_ = 64;  // 64 - log2(size)
  NumberHash hash_;
};

}  // namespace steelyard::tokenizer
