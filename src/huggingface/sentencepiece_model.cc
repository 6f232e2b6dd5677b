// See sentencepiece_model.h.
#include "huggingface/sentencepiece_model.h"

#include <cmath>
#include <optional>
#include <span>

#include "base/byte_reader.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/utf8.h"

namespace steelyard::huggingface {
namespace {

using tokenizer::TokenType;

constexpr uint64_t kUnigram = 1, kBpe = 2;

// The fields of a message, one after another.
class Message {
 public:
  Message(std::span<const std::byte> bytes, const std::string& where) : in_(bytes, where) {}

  ByteReader& in() { return in_; }

  /// Goes to the next field; false at the end.
  bool next() {
    if (in_.at_end()) return false;
    const uint64_t tag = varint();
    field_ = tag >> 3;
    wire_ = static_cast<int>(tag & 7);
    if (field_ == 0) in_.reject("found a field of number 0 at offset {}", in_.position());
    return true;
  }
  uint64_t field() const { return field_; }

  // The value of the field. Error if it is written otherwise.
  uint64_t number() { return expect(0), varint(); }
  float real() { return expect(5), in_.number<float>(); }
  std::span<const std::byte> bytes() { return expect(2), in_.bytes(varint()); }

  void skip() {
    if (wire_ == 0) {
      varint();
    } else if (wire_ == 1) {
      in_.bytes(8);
    } else if (wire_ == 2) {
      in_.bytes(varint());
    } else if (wire_ == 5) {
      in_.bytes(4);
    } else {
      in_.reject("found wire type {} at offset {}, expected 0, 1, 2 or 5", wire_, in_.position());
    }
  }

 private:
  void expect(int wire) {
    if (wire_ != wire) in_.reject("field {} has wire type {}, expected {}", field_, wire_, wire);
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = in_.number<uint8_t>();
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    in_.reject("found a number of more than 64 bits at offset {}", in_.position());
  }

  ByteReader in_;
  uint64_t field_ = 0;
  int wire_ = 0;
};

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

SentencePieceModel::Piece read_piece(std::span<const std::byte> bytes, size_t id, const std::string& where) {
  SentencePieceModel::Piece piece;
  Message message(bytes, where);
  message.in().set_subject(fmt::format("piece {}", id));
  while (message.next()) {
    if (message.field() == 1) {
      const auto text = message.bytes();
      piece.text.assign(reinterpret_cast<const char*>(text.data()), text.size());
    } else if (message.field() == 2) {
      piece.score = message.real();
    } else if (message.field() == 3) {
      const uint64_t type = message.number();
      if (type < 1 || type > 6) message.in().reject("has type {}, expected 1 to 6", type);
      piece.type = static_cast<TokenType>(type);
    } else {
      message.skip();
    }
  }
  if (!is_utf8(piece.text)) message.in().reject("'{}' is no UTF-8", printable(piece.text));
  if (!std::isfinite(piece.score)) message.in().reject("'{}' has score {}", printable(piece.text), piece.score);
  return piece;
}

// One number of a message within it.
std::optional<uint64_t> number_of(std::span<const std::byte> bytes, uint64_t field, const std::string& where) {
  Message message(bytes, where);
  std::optional<uint64_t> value;
  while (message.next()) {
    if (message.field() == field)
      value = message.number();
    else
      message.skip();
  }
  return value;
}

void check_type(uint64_t type, const std::string& where) {
  if (type == kBpe) return;
  fail(where, "found a SentencePiece model of type {}{}, expected 2: BPE", type, type == kUnigram ? " (unigram)" : "");
}

}  // namespace

SentencePieceModel read_sentencepiece_model(const std::string& path) {
  const MappedFile file(path);
  SentencePieceModel model;
  Message message(file.bytes(), path);
  uint64_t type = kUnigram;
  while (message.next()) {
    if (message.field() == 1) {
      model.pieces.push_back(read_piece(message.bytes(), model.pieces.size(), path));
    } else if (message.field() == 2) {
      type = number_of(message.bytes(), 3, path).value_or(type);
    } else if (message.field() == 3) {
      model.add_dummy_prefix = number_of(message.bytes(), 3, path).value_or(1) != 0;
    } else {
      message.skip();
    }
  }
  if (model.pieces.empty()) fail(path, "found no pieces of a SentencePiece model");
  check_type(type, path);
  return model;
}

bool looks_like_sentencepiece(const std::string& path) {
  const MappedFile file(path);
  return !file.bytes().empty() && file.bytes()[0] == std::byte{0x0A};  // field 1 with length and bytes
}

}  // namespace steelyard::huggingface
