// See bpe.h.
#include "tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <queue>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace steelyard {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";
constexpr std::string_view kPreKey = "tokenizer.ggml.pre";

uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Merges::Merges(const gguf::Metadata& metadata, const Vocabulary& vocabulary) {
  const std::vector<std::string_view> merges = metadata.strings(kMergesKey);
  const std::string where = place(metadata, kMergesKey);
  if (merges.size() > INT32_MAX) fail(where, "found {} merges, expected fewer than 2^31", merges.size());
  slots_.resize(std::bit_ceil(merges.size() + merges.size() / 2 + 2));
  shift_ = 64 - std::countr_zero(slots_.size());

  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      fail(where, "merge {} is '{}', expected two words", i, printable(merge));
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const auto token = [&](std::string_view word) {
      const std::optional<TokenId> id = vocabulary.find(word);
      if (!id) fail(where, "merge {} is '{}', but there is no token '{}'", i, printable(merge), printable(word));
      return *id;
    };
    const uint64_t pair = pair_of(token(left), token(right));
    Slot& slot = slots_[slot_of(pair)];
    if (slot.pair == pair) continue;  // listed twice: the first counts
    slot = {pair, {static_cast<int32_t>(i), token(joined)}};
  }
}

size_t Merges::slot_of(uint64_t pair) const {
  size_t i = pair * 0x9E3779B97F4A7C15u >> shift_;  // Fibonacci hashing
  while (slots_[i].pair != pair && slots_[i].pair != kEmpty) i = (i + 1) & (slots_.size() - 1);
  return i;
}

const Merges::Merge* Merges::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0) return nullptr;
  const uint64_t pair = pair_of(left, right);
  const Slot& slot = slots_[slot_of(pair)];
  return slot.pair == pair ? &slot.merge : nullptr;
}

// Merges one piece at a time; lives for one encode() and keeps its memory between pieces.
class Bpe::Merger {
 public:
  explicit Merger(const Bpe& bpe) : bpe_(bpe) {}

  void encode(std::string_view piece, std::vector<TokenId>& ids) {
    const auto n = static_cast<int32_t>(piece.size());
    symbols_.resize(n);
    for (int32_t i = 0; i < n; ++i) {
      symbols_[i] = {bpe_.byte_tokens_[static_cast<uint8_t>(piece[i])], i - 1, i + 1 < n ? i + 1 : -1};
    }
    for (int32_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
    while (!candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      Symbol& left = symbols_[best.left];
      // A candidate is stale once either side has merged: then the ids there are others.
      if (left.token != best.left_token || left.next < 0 || symbols_[left.next].token != best.right_token) continue;
      Symbol& right = symbols_[left.next];
      left.token = best.result;
      left.next = right.next;
      right.token = kGone;
      if (left.next >= 0) symbols_[left.next].previous = best.left;
      if (left.previous >= 0) consider(left.previous, best.left);
      if (left.next >= 0) consider(best.left, left.next);
    }
    for (int32_t i = 0; i >= 0; i = symbols_[i].next) {
      if (symbols_[i].token >= 0) ids.push_back(symbols_[i].token);
    }
  }

 private:
  static constexpr TokenId kGone = -2;

  struct Symbol {
    TokenId token;  // -1: a byte that is no token, kGone: part of an earlier symbol
    int32_t previous;
    int32_t next;  // -1 at the end
  };
  struct Candidate {
    int32_t rank;
    int32_t left;
    TokenId left_token;
    TokenId right_token;
    TokenId result;
    bool operator<(const Candidate& other) const {  // the queue yields the greatest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  void consider(int32_t left, int32_t right) {
    const TokenId a = symbols_[left].token;
    const TokenId b = symbols_[right].token;
    const Merges::Merge* merge = bpe_.merges_.find(a, b);
    if (merge) candidates_.push({merge->rank, left, a, b, merge->result});
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> candidates_;
};

Bpe::Bpe(const gguf::Metadata& metadata, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      pretokenizer_(metadata.string(kPreKey, "default"), place(metadata, kPreKey)),
      merges_(metadata, vocabulary) {
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_tokens_[b] = vocabulary.find(spelling_of_bytes({&byte, 1})).value_or(-1);
  }
}

void Bpe::encode(std::string_view text, std::vector<TokenId>& ids) const {
  const std::string valid = valid_utf8(text);
  Merger merger(*this);
  for (const std::string_view piece : pretokenizer_.split(valid)) {
    if (pretokenizer_.ignore_merges()) {
      if (const std::optional<TokenId> whole = vocabulary_.find(spelling_of_bytes(piece))) {
        ids.push_back(*whole);
        continue;
      }
    }
    merger.encode(piece, ids);
  }
}

std::string Bpe::bytes(TokenId id) const {
  const std::string_view text = vocabulary_.text(id);
  return bytes_of_spelling(text).value_or(std::string(text));
}

}  // namespace steelyard
