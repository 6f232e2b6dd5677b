// The encoding of everything in a GGUF header: little-endian numbers, strings with a u64 length, values.
//
// Cursor reads it from untrusted bytes and never passes their end; the append functions write it. Used by reader,
// writer and metadata only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "gguf/metadata.h"

namespace steelyard::gguf {

static_assert(std::endian::native == std::endian::little, "numbers are copied between file and memory as they are");

/// Decodes the number at `from`, which need not be aligned.
template <typename T>
T load(const char* from) {
  static_assert(std::is_arithmetic_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <typename T>
void append_number(std::string& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

/// u64 length, bytes.
inline void append_string(std::string& out, std::string_view text) {
  append_number<uint64_t>(out, text.size());
  out += text;
}

/// A position in a span of foreign bytes. Reading past the end is an Error that names the subject.
class Cursor {
 public:
  /// `where`: the file name for messages.
  Cursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  /// What is read from here on, for messages: "key 'general.name'".
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  /// The next `n` bytes.
  std::string_view take(uint64_t n) {
    if (n > remaining()) reject("needs {} bytes at offset {}, found {}", n, position_, remaining());
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + position_;
    position_ += n;
    return {begin, static_cast<size_t>(n)};
  }

  /// The bytes from `position` up to here.
  std::string_view since(uint64_t position) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + position, static_cast<size_t>(position_ - position)};
  }

  template <typename T>
  T number() {
    return load<T>(take(sizeof(T)).data());
  }

  std::string_view string() { return take(number<uint64_t>()); }

  /// Throws Error about the current subject.
  template <typename... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    fail(where_, "{}: {}", subject_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  std::string subject_ = "header";
  uint64_t position_ = 0;
};

/// Reads one value of `type` and returns its bytes. Error if it is malformed or does not fit into the remaining bytes.
/// The work is linear in the bytes consumed, whatever counts it claims.
std::string_view read_value(Cursor& cursor, ValueType type);

}  // namespace steelyard::gguf
