// Writes the little-endian values that ByteReader reads. Where they go is the sink's: anything with
// append(std::string_view), such as std::string, AtomicFile or ResumeFileWriter.
//
// A number's type is always spelled out, since it is part of the layout: number<uint32_t>(n).
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"

namespace steelyard {

static_assert(std::endian::native == std::endian::little, "numbers are copied between memory and file as they are");

template <typename Sink>
class ByteWriter {
 public:
  /// The sink must outlive the writer.
  explicit ByteWriter(Sink& sink) : sink_(sink) {}

  template <typename T>
  void number(std::type_identity_t<T> value) {
    static_assert(std::is_arithmetic_v<T>);
    values(std::span<const T>(&value, 1));
  }

  void text(std::string_view text) { sink_.append(text); }

  /// A length of type Length, then the bytes.
  template <std::integral Length>
  void string(std::string_view value) {
    STEELYARD_CHECK(std::in_range<Length>(value.size()));
    number<Length>(static_cast<Length>(value.size()));
    text(value);
  }

  /// Values as they are in memory.
  template <typename T>
  void values(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    text({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }

 private:
  Sink& sink_;
};

}  // namespace steelyard
