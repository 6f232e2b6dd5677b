// See bpe.h.
#include "tokenizer/bpe.h"

#include <bit>
#include <optional>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/merger.h"
#include "tokenizer/piece_cache.h"
#include "tokenizer/utf8.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";
constexpr std::string_view kModelKey = "tokenizer.ggml.model";
constexpr std::string_view kPreKey = "tokenizer.ggml.pre";

uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Gemma 4 has a kind of its own and needs no name.
std::string_view pretokenizer_name(const gguf::Metadata& metadata) {
  constexpr std::string_view kGemma4 = "gemma4";
  return metadata.string(kModelKey) == kGemma4 ? kGemma4 : metadata.string(kPreKey, "default");
}

// What Merger asks: the earliest merge is the best.
auto earliest(const Merges& merges) {
  return [&merges](const Merger::Symbol& left, const Merger::Symbol& right) -> std::optional<Merger::Merge> {
    const Merges::Merge* merge = merges.find(left.token, right.token);
    if (!merge) return std::nullopt;
    return Merger::Merge{-static_cast<double>(merge->rank), merge->result};
  };
}

}  // namespace

Merges::Merges(const gguf::Metadata& metadata, const Vocabulary& vocabulary) {
  const std::vector<std::string_view> merges = metadata.strings(kMergesKey);
  const std::string where = key_location(metadata, kMergesKey);
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
  size_t i = hash_(pair) >> shift_;
  while (slots_[i].pair != pair && slots_[i].pair != kEmpty) i = (i + 1) & (slots_.size() - 1);
  return i;
}

const Merges::Merge* Merges::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0) return nullptr;
  const uint64_t pair = pair_of(left, right);
  const Slot& slot = slots_[slot_of(pair)];
  return slot.pair == pair ? &slot.merge : nullptr;
}

Bpe::Bpe(const gguf::Metadata& metadata, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      pretokenizer_(pretokenizer_name(metadata), key_location(metadata, kPreKey)),
      merges_(metadata, vocabulary) {
  if (pretokenizer_.traits().sentencepiece) {
    words_.emplace(vocabulary);
    byte_tokens_ = byte_tokens(vocabulary);
    check_byte_tokens(metadata, vocabulary);
    return;
  }
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_tokens_[b] = vocabulary.find(spelling_of_bytes({&byte, 1})).value_or(-1);
  }
}

SpecialDefaults Bpe::defaults() const {
  return {.add_bos = pretokenizer_.traits().add_bos, .insists_on_bos = pretokenizer_.traits().insists_on_bos};
}

void Bpe::encode(std::string_view text, bool /*starts*/, std::vector<TokenId>& ids) const {
  const std::string valid = valid_utf8(text);
  if (words_) {
    std::string escaped;
    append_escaped(valid, escaped);
    encode_characters(escaped, ids);
  } else {
    encode_bytes(valid, ids);
  }
}

void Bpe::encode_bytes(std::string_view text, std::vector<TokenId>& ids) const {
  Merger merger;
  const auto merge_piece = [&](std::string_view piece) {
    if (pretokenizer_.traits().ignore_merges) {
      if (const std::optional<TokenId> whole = vocabulary_.find(spelling_of_bytes(piece))) {
        ids.push_back(*whole);
        return;
      }
    }
    for (size_t i = 0; i < piece.size(); ++i) merger.add(byte_tokens_[static_cast<uint8_t>(piece[i])], i, 1);
    merger.run(earliest(merges_), [&](const Merger::Symbol& symbol) {
      if (symbol.token >= 0) ids.push_back(symbol.token);
    });
  };
  PieceCache cache;
  for (const std::string_view piece : pretokenizer_.split(text)) cache.append(piece, ids, merge_piece);
}

void Bpe::encode_characters(std::string_view text, std::vector<TokenId>& ids) const {
  Merger merger;
  const auto merge_word = [&](std::string_view word) {
    if (pretokenizer_.traits().whole_line_ends && word.starts_with('\n')) {  // then there is nothing else in it
      if (const std::optional<TokenId> whole = vocabulary_.find(word)) {
        ids.push_back(*whole);
        return;
      }
    }
    for (size_t begin = 0; begin < word.size();) {
      const std::string_view character = first_character(word.substr(begin));
      merger.add(vocabulary_.find(character).value_or(-1), begin, character.size());
      begin += character.size();
    }
    merger.run(earliest(merges_), [&](const Merger::Symbol& symbol) {
      if (symbol.token >= 0) {
        ids.push_back(symbol.token);
        return;
      }
      for (const char byte : word.substr(symbol.begin, symbol.length)) {
        if (const TokenId token = byte_tokens_[static_cast<uint8_t>(byte)]; token >= 0) ids.push_back(token);
      }
    });
  };
  // A piece is a line. Repeated ones are rare, repeated words are not.
  PieceCache cache;
  for (std::string_view piece : pretokenizer_.split(text)) {
    while (!piece.empty()) {
      const std::string_view word = words_->first(piece);
      cache.append(word, ids, merge_word);
      piece.remove_prefix(word.size());
    }
  }
}

std::string Bpe::bytes(TokenId id) const {
  const std::string_view text = vocabulary_.text(id);
  if (!words_) return bytes_of_spelling(text).value_or(std::string(text));
  if (vocabulary_.type(id) == TokenType::kByte) return {byte_of(text)};
  return with_spaces(text);
}

}  // namespace steelyard::tokenizer
