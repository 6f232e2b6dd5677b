// See special_tokens.h.
#include "tokenizer/special_tokens.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace steelyard::tokenizer {
namespace {

// A position of the text, and a token that begins there.
struct Match {
  size_t begin;
  int32_t word;
};

// Which words of a matcher may be read where: those on demand not within text that is literal.
class Readable {
 public:
  Readable(const SuffixMatcher& matcher, const std::vector<bool>& on_demand, std::span<const TextRange> literal)
      : matcher_(matcher), on_demand_(on_demand), literal_(literal) {}

  // `word`, or the longest of the shorter ones that begin there, too, and may be read; kNone: none may.
  int32_t longest(size_t begin, int32_t word) const {
    while (word != SuffixMatcher::kNone && is_literal(begin, matcher_.word(word))) word = matcher_.word(word).shorter;
    return word;
  }

 private:
  bool is_literal(size_t begin, const SuffixMatcher::Word& word) const {
    if (literal_.empty() || !on_demand_[static_cast<size_t>(word.id)]) return false;
    const auto next = std::ranges::upper_bound(literal_, begin, {}, &TextRange::end);
    return next != literal_.end() && next->begin < begin + word.length;
  }

  const SuffixMatcher& matcher_;
  const std::vector<bool>& on_demand_;
  const std::span<const TextRange> literal_;
};

// Chooses among tokens that overlap, in a stretch of the text where each overlaps with the one before. The order in
// which matches are taken is that of divide(): longest, lowest id, leftmost. Only the longest match of a position waits
// for its turn. When it does not fit any more the next that fits replaces it, which halves the room at least: what
// blocks it has at least its length. So a position waits O(log n) times.
class Stretch {
 public:
  Stretch(const SuffixMatcher& matcher, const Readable& readable, size_t begin, size_t end)
      : matcher_(matcher), readable_(readable), begin_(begin), covered_(end - begin) {}

  // `matches` in order of the text; appends those that are taken, in order of the text.
  void choose(std::span<const Match> matches, std::vector<Match>& taken) {
    for (const Match& match : matches) waiting_.push(candidate(match));
    const size_t first = taken.size();
    while (!waiting_.empty()) {
      const Candidate best = waiting_.top();
      waiting_.pop();
      if (covered_[best.begin - begin_] != 0) continue;
      // All that is taken is at least as long, so what overlaps covers an end.
      const size_t last = best.begin + best.length - 1 - begin_;
      if (covered_[last] == 0) {
        take(best);
        taken.push_back({best.begin, best.word});
        continue;
      }
      const size_t room = last + 1 - covered_[last] - (best.begin - begin_);
      const int32_t shorter = readable_.longest(best.begin, matcher_.longest_within(best.word, room));
      if (shorter != SuffixMatcher::kNone) waiting_.push(candidate({best.begin, shorter}));
    }
    std::sort(taken.begin() + static_cast<std::ptrdiff_t>(first), taken.end(),
              [](const Match& a, const Match& b) { return a.begin < b.begin; });
  }

 private:
  struct Candidate {
    size_t length, begin;
    TokenId id;
    int32_t word;
    bool operator<(const Candidate& other) const {  // the queue yields the greatest
      return std::tuple(length, other.id, other.begin) < std::tuple(other.length, id, begin);
    }
  };
  Candidate candidate(const Match& match) const {
    const SuffixMatcher::Word& word = matcher_.word(match.word);
    return {word.length, match.begin, word.id, match.word};
  }
  void take(const Candidate& best) {
    for (size_t i = 0; i < best.length; ++i) covered_[best.begin - begin_ + i] = static_cast<uint32_t>(i + 1);
  }

  const SuffixMatcher& matcher_;
  const Readable& readable_;
  const size_t begin_;
  std::vector<uint32_t> covered_;  // per byte: its place in the token that is taken there, from 1; 0: none is
  std::priority_queue<Candidate> waiting_;
};

}  // namespace

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary, bool drop_space)
    : drop_space_(drop_space), on_demand_(static_cast<size_t>(vocabulary.n_tokens())) {
  std::vector<std::tuple<std::string_view, bool, TokenId>> tokens;  // text, whether it is on demand, id
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    const TokenType type = vocabulary.type(id);
    const bool on_demand = type == TokenType::kControl || type == TokenType::kUnknown;
    const std::string_view text = vocabulary.text(id);
    if ((on_demand || type == TokenType::kUserDefined) && !text.empty()) tokens.emplace_back(text, on_demand, id);
  }
  // A vocabulary may list a text more than once. One token of it is enough: one that needs no demand, the first of
  // them.
  std::sort(tokens.begin(), tokens.end());
  const auto same_text = [](const auto& a, const auto& b) { return std::get<0>(a) == std::get<0>(b); };
  tokens.erase(std::unique(tokens.begin(), tokens.end(), same_text), tokens.end());
  for (const auto& [text, on_demand, id] : tokens) {
    all_.add(text, id);
    if (!on_demand) always_.add(text, id);
    on_demand_[static_cast<size_t>(id)] = on_demand;
  }
  all_.finish();
  always_.finish();
}

// The exceptions are llama.cpp's.
bool SpecialTokens::drops_space_after(std::string_view token) const {
  return drop_space_ && token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
}

std::vector<Fragment> SpecialTokens::divide(std::string_view text, bool parse_special,
                                            std::span<const TextRange> literal) const {
  const SuffixMatcher& matcher = parse_special ? all_ : always_;
  const Readable readable(matcher, on_demand_, literal);
  std::vector<Match> matches, taken;
  const auto found = [&](size_t begin, int32_t longest) {
    if (const int32_t word = readable.longest(begin, longest); word != SuffixMatcher::kNone) {
      matches.push_back({begin, word});
    }
  };
  if (!matcher.empty()) matcher.match(text, found);
  std::ranges::reverse(matches);
  for (size_t i = 0; i < matches.size();) {
    const size_t first = i, begin = matches[i].begin;
    size_t end = begin;
    for (; i < matches.size() && (i == first || matches[i].begin < end); ++i) {
      end = std::max<size_t>(end, matches[i].begin + matcher.word(matches[i].word).length);
    }
    const auto overlapping = std::span(matches).subspan(first, i - first);
    if (overlapping.size() == 1)
      taken.push_back(overlapping.front());
    else
      Stretch(matcher, readable, begin, end).choose(overlapping, taken);
  }

  std::vector<Fragment> fragments;
  const auto add_plain = [&](std::string_view plain) {
    if (!fragments.empty() && drops_space_after(fragments.back().text)) {
      plain.remove_prefix(std::min(plain.find_first_not_of(" \t\n\v\f\r"), plain.size()));
    }
    if (!plain.empty()) fragments.push_back({plain});
  };
  size_t done = 0;
  for (const auto& [begin, word] : taken) {
    add_plain(text.substr(done, begin - done));
    fragments.push_back({text.substr(begin, matcher.word(word).length), matcher.word(word).id});
    done = begin + matcher.word(word).length;
  }
  add_plain(text.substr(done));
  return fragments;
}

}  // namespace steelyard::tokenizer
