// The registry: the Format objects of all types, in the order of formats.def, and the ways to find one.
#include "formats/format.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/checked.h"

namespace steelyard::formats {

#define FORMAT(name, id) +1
constexpr size_t kFormatCount = 0
#include "formats/formats.def"
    ;
#undef FORMAT

using Formats = std::array<const Format*, kFormatCount>;

// Defined in list.cc, once per target that has encoders.
#define TARGET(enumerator, name, encoders, ...) \
  namespace encoders {                          \
  extern const Formats kFormats;                \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

const Formats& formats(simd::Target target) {
  static constexpr simd::PerTarget<Formats> kTables({
#define TARGET(enumerator, name, encoders, ...) &encoders::kFormats,
#include "simd/targets.def"
#undef TARGET
  });
  return kTables[target];
}

const Formats& formats() { return formats(simd::chosen_target()); }

/// ASCII only and independent of the locale: the names of types are ASCII.
char to_upper(char c) { return 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

}  // namespace

const Format& format(Type type) {
  const Format* found = find_format(static_cast<uint32_t>(type));
  STEELYARD_CHECK(found != nullptr);
  return *found;
}

const Format& format(Type type, simd::Target target) {
  for (const Format* format : formats(target)) {
    if (format->type == type) return *format;
  }
  STEELYARD_CHECK(!"a type without format");
}

const Format* find_format(uint32_t ggml_id) {
  for (const Format* format : formats()) {
    if (static_cast<uint32_t>(format->type) == ggml_id) return format;
  }
  return nullptr;
}

const Format* find_format(std::string_view name) {
  for (const Format* format : formats()) {
    if (std::ranges::equal(format->name, name, {}, to_upper, to_upper)) return format;
  }
  return nullptr;
}

std::span<const Format* const> all_formats() { return formats(); }

std::optional<uint64_t> row_bytes(const Format& format, uint64_t n) {
  const auto block_len = static_cast<uint64_t>(format.block_len);
  if (n % block_len != 0) return std::nullopt;
  return checked_mul(n / block_len, static_cast<uint64_t>(format.block_bytes));
}

}  // namespace steelyard::formats
