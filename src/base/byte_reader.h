// Reads little-endian values, front to back, from bytes that nobody has checked: a file's header, a table, a resume
// file.
//
// It never passes the end. Every length and count is compared with the bytes that are left before anything is taken or
// reserved, so work and memory stay linear in the bytes that are really there. What does not fit is an Error that names
// the file, what was being read, and where. ByteWriter (byte_writer.h) writes what it reads.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"

namespace steelyard {

static_assert(std::endian::native == std::endian::little, "numbers are copied between file and memory as they are");

/// The number at `from`, which need not be aligned. Of bytes that were checked before. Any byte but zero is a true
/// bool.
template <typename T>
T load_number(const void* from) {
  static_assert(std::is_arithmetic_v<T>);
  if constexpr (std::is_same_v<T, bool>) {
    return load_number<unsigned char>(from) != 0;
  } else {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
  }
}

class ByteReader {
 public:
  /// `where`: the file's name for messages. The bytes must outlive the reader and what it returns views of.
  ByteReader(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  /// What is read from here on, for messages: "key 'general.name'". Empty: the file as a whole.
  void set_subject(std::string subject) { subject_ = std::move(subject); }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  bool at_end() const { return remaining() == 0; }

  /// Goes on at another place. Error when it lies beyond the end.
  void seek(uint64_t position) {
    if (position > bytes_.size()) reject("found offset {}, expected at most {}", position, bytes_.size());
    position_ = position;
  }

  /// The next n bytes.
  std::span<const std::byte> bytes(uint64_t n) {
    if (n > remaining()) reject("needs {} bytes at offset {}, found {}", n, position_, remaining());
    const auto taken = bytes_.subspan(position_, n);
    position_ += n;
    return taken;
  }
  std::string_view text(uint64_t n) { return as_text(bytes(n)); }

  /// What was read since an earlier position.
  std::string_view since(uint64_t position) const { return as_text(bytes_.subspan(position, position_ - position)); }

  template <typename T>
  T number() {
    return load_number<T>(bytes(sizeof(T)).data());
  }
  /// Error unless it is within [least, most].
  template <typename T>
  T number(std::type_identity_t<T> least, std::type_identity_t<T> most = std::numeric_limits<T>::max()) {
    const T value = number<T>();
    if (!(value >= least && value <= most)) {
      if (most == std::numeric_limits<T>::max()) reject("found {}, expected at least {}", value, least);
      reject("found {}, expected {} to {}", value, least, most);
    }
    return value;
  }

  /// A length of type Length, then so many bytes.
  template <std::integral Length>
  std::string_view string(std::type_identity_t<Length> least = 0) {
    return text(static_cast<uint64_t>(number<Length>(least)));
  }

  /// n values as they are in memory.
  template <typename T>
  std::vector<T> values(uint64_t n) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (n > remaining() / sizeof(T)) {
      reject("needs {} values of {} bytes at offset {}, found {} bytes", n, sizeof(T), position_, remaining());
    }
    std::vector<T> values(static_cast<size_t>(n));
    read(std::span(values));
    return values;
  }
  template <typename T>
  void read(std::span<T> to) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto from = bytes(to.size_bytes());
    if (!to.empty()) std::memcpy(to.data(), from.data(), from.size());
  }

  /// Error when anything is left.
  void expect_end() const {
    if (!at_end()) reject("found {} bytes after the end, expected none", remaining());
  }

  /// Throws Error about the current subject.
  template <typename... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    const std::string what = fmt::format(format, std::forward<Args>(args)...);
    throw Error(where_, subject_.empty() ? what : subject_ + ": " + what);
  }

 private:
  static std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> bytes_;
  std::string where_;
  std::string subject_;
  uint64_t position_ = 0;
};

}  // namespace steelyard
