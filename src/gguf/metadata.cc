// Typed access to metadata entries. Only this file knows the layout of their values.
#include "gguf/metadata.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "gguf/value_type.h"

namespace steelyard::gguf {

namespace {

// Bytes of a value of fixed size; 0 for strings, arrays and ids that are no type.
size_t fixed_size(ValueType type) {
  return visit_number(
      type, []<class T>() { return sizeof(T); }, size_t{0});
}

// The number at `from` as int64, if it is an integer or bool and fits.
std::optional<int64_t> as_integer(ValueType type, const char* from) {
  const auto convert = [&]<class T>() -> std::optional<int64_t> {
    if constexpr (std::is_integral_v<T>) {
      const T value = load_number<T>(from);
      if (std::is_same_v<T, uint64_t> && static_cast<int64_t>(value) < 0) return std::nullopt;  // beyond int64
      return static_cast<int64_t>(value);
    } else {
      return std::nullopt;
    }
  };
  return visit_number(type, convert, std::optional<int64_t>());
}

// The same of all 64 bits, if it is not negative.
std::optional<uint64_t> as_unsigned(ValueType type, const char* from) {
  if (type == ValueType::kUint64) return load_number<uint64_t>(from);
  const std::optional<int64_t> value = as_integer(type, from);
  return value && *value >= 0 ? std::optional(static_cast<uint64_t>(*value)) : std::nullopt;
}

// The number at `from` as double, if it is a number at all.
std::optional<double> as_real(ValueType type, const char* from) {
  const auto convert = [&]<class T>() { return std::optional(static_cast<double>(load_number<T>(from))); };
  return visit_number(type, convert, std::optional<double>());
}

// An array value in parts; `elements` are the bytes after the count.
struct Array {
  ValueType type;
  uint64_t size;
  const char* elements;
};

Array as_array(const KeyValue& entry) {
  const char* raw = entry.raw.data();
  return {static_cast<ValueType>(load_number<uint32_t>(raw)), load_number<uint64_t>(raw + 4), raw + 12};
}

std::string describe(const KeyValue& entry) {
  if (entry.type == ValueType::kArray) return fmt::format("array of {}", name(as_array(entry).type));
  const auto number = as_real(entry.type, entry.raw.data());
  return number ? fmt::format("{} {}", name(entry.type), *number) : std::string(name(entry.type));
}

[[noreturn]] void mismatch(const Metadata& metadata, std::string_view key, std::string_view expected) {
  const KeyValue* entry = metadata.find(key);
  fail(metadata.source(), "key '{}': found {}, expected {}", printable(key), entry ? describe(*entry) : "none",
       expected);
}

// The array under `key`; Error if it is none.
Array array(const Metadata& metadata, std::string_view key, std::string_view expected) {
  const KeyValue* entry = metadata.find(key);
  if (entry == nullptr || entry->type != ValueType::kArray) mismatch(metadata, key, expected);
  return as_array(*entry);
}

// All elements of the array under `key`, each through `decode`; Error if one does not convert.
template <typename T>
std::vector<T> numbers(const Metadata& metadata, std::string_view key, std::string_view expected,
                       std::optional<T> (*decode)(ValueType, const char*)) {
  const Array values = array(metadata, key, expected);
  const size_t step = fixed_size(values.type);
  if (step == 0) mismatch(metadata, key, expected);
  std::vector<T> out;
  out.reserve(values.size);
  for (uint64_t i = 0; i < values.size; ++i) {
    const auto value = decode(values.type, values.elements + i * step);
    if (!value) mismatch(metadata, key, expected);
    out.push_back(*value);
  }
  return out;
}

template <typename T>
KeyValue number_entry(std::string_view key, ValueType type, T value) {
  KeyValue entry{std::string(key), type, {}};
  ByteWriter<std::string>(entry.raw).number<T>(value);
  return entry;
}

template <typename T>
KeyValue numbers_entry(std::string_view key, ValueType element, std::span<const T> values) {
  KeyValue entry{std::string(key), ValueType::kArray, {}};
  ByteWriter<std::string> raw(entry.raw);
  raw.number<uint32_t>(static_cast<uint32_t>(element));
  raw.number<uint64_t>(values.size());
  entry.raw.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return entry;
}

constexpr std::string_view kAnInteger = "an integer of at most 63 bits";
constexpr std::string_view kIntegers = "an array of integers of at most 63 bits";

}  // namespace

std::string_view name(ValueType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kNames) ? kNames[id] : "unknown type";
}

std::string_view read_value(ByteReader& in, ValueType type) {
  const uint64_t begin = in.position();
  if (type == ValueType::kString) {
    in.string<uint64_t>();
  } else if (type == ValueType::kArray) {
    const auto element = in.number<uint32_t>();
    const auto count = in.number<uint64_t>();
    const size_t size = fixed_size(static_cast<ValueType>(element));
    if (size > 0) {
      const auto bytes = checked_mul(count, size);
      if (!bytes) in.reject("found an array of {} elements, expected what 64 bits can address", count);
      in.bytes(*bytes);
    } else if (static_cast<ValueType>(element) == ValueType::kString) {
      if (count > in.remaining() / 8) {
        in.reject("found an array of {} strings, expected at most {} in {} bytes", count, in.remaining() / 8,
                  in.remaining());
      }
      for (uint64_t i = 0; i < count; ++i) in.string<uint64_t>();
    } else {
      in.reject("found an array of type {}, expected elements of type 0-8 or 10-12 (arrays do not nest)", element);
    }
  } else if (const size_t size = fixed_size(type); size > 0) {
    in.bytes(size);
  } else {
    in.reject("found value type {}, expected 0-12", static_cast<uint32_t>(type));
  }
  return in.since(begin);
}

Metadata::Metadata(std::string source, std::vector<KeyValue> entries)
    : source_(std::move(source)), entries_(std::move(entries)) {
  index();
}

void Metadata::index() {
  places_.clear();
  for (size_t i = 0; i < entries_.size(); ++i) places_.emplace(entries_[i].key, i);
}

const KeyValue* Metadata::find(std::string_view key) const {
  const auto found = places_.find(key);
  return found == places_.end() ? nullptr : &entries_[found->second];
}

int64_t Metadata::integer(std::string_view key) const {
  const KeyValue* entry = find(key);
  const auto value = entry ? as_integer(entry->type, entry->raw.data()) : std::nullopt;
  if (!value) mismatch(*this, key, kAnInteger);
  return *value;
}

int64_t Metadata::integer(std::string_view key, int64_t absent) const { return contains(key) ? integer(key) : absent; }

double Metadata::real(std::string_view key) const {
  const KeyValue* entry = find(key);
  const auto value = entry ? as_real(entry->type, entry->raw.data()) : std::nullopt;
  if (!value) mismatch(*this, key, "a number");
  return *value;
}

double Metadata::real(std::string_view key, double absent) const { return contains(key) ? real(key) : absent; }

bool Metadata::boolean(std::string_view key, bool absent) const {
  const KeyValue* entry = find(key);
  if (entry == nullptr) return absent;
  const auto value = as_integer(entry->type, entry->raw.data());
  if (!value || (*value != 0 && *value != 1)) mismatch(*this, key, "a bool");
  return *value == 1;
}

std::string_view Metadata::string(std::string_view key) const {
  const KeyValue* entry = find(key);
  if (entry == nullptr || entry->type != ValueType::kString) mismatch(*this, key, "a string");
  return std::string_view(entry->raw).substr(sizeof(uint64_t));
}

std::string_view Metadata::string(std::string_view key, std::string_view absent) const {
  return contains(key) ? string(key) : absent;
}

std::vector<std::string_view> Metadata::strings(std::string_view key) const {
  constexpr std::string_view kExpected = "an array of strings";
  const Array values = array(*this, key, kExpected);
  if (values.type != ValueType::kString) mismatch(*this, key, kExpected);
  std::vector<std::string_view> out;
  out.reserve(values.size);
  const char* at = values.elements;
  for (uint64_t i = 0; i < values.size; ++i) {
    const auto length = load_number<uint64_t>(at);
    out.emplace_back(at + sizeof(length), length);
    at += sizeof(length) + length;
  }
  return out;
}

std::vector<int64_t> Metadata::integers(std::string_view key) const {
  return numbers(*this, key, kIntegers, as_integer);
}

std::vector<uint64_t> Metadata::unsigned_integers(std::string_view key) const {
  return numbers(*this, key, "an array of integers of at least 0", as_unsigned);
}

std::vector<double> Metadata::reals(std::string_view key) const {
  return numbers(*this, key, "an array of numbers", as_real);
}

uint64_t Metadata::array_size(std::string_view key) const { return array(*this, key, "an array").size; }

void Metadata::set(KeyValue entry) {
  STEELYARD_CHECK(!entry.key.empty());
  ByteReader in(std::as_bytes(std::span(entry.raw)), source_);
  in.set_subject(fmt::format("key '{}'", printable(entry.key)));
  read_value(in, entry.type);
  in.expect_end();

  const auto [place, is_new] = places_.try_emplace(entry.key, entries_.size());
  if (is_new) {
    entries_.push_back(std::move(entry));
  } else {
    entries_[place->second] = std::move(entry);
  }
}

void Metadata::set_integer(std::string_view key, uint32_t value) { set(number_entry(key, ValueType::kUint32, value)); }

void Metadata::set_real(std::string_view key, float value) { set(number_entry(key, ValueType::kFloat32, value)); }

void Metadata::set_boolean(std::string_view key, bool value) {
  set(number_entry<uint8_t>(key, ValueType::kBool, value ? 1 : 0));
}

void Metadata::set_string(std::string_view key, std::string_view value) {
  KeyValue entry{std::string(key), ValueType::kString, {}};
  ByteWriter(entry.raw).string<uint64_t>(value);
  set(std::move(entry));
}

void Metadata::set_strings(std::string_view key, std::span<const std::string> values) {
  KeyValue entry{std::string(key), ValueType::kArray, {}};
  ByteWriter raw(entry.raw);
  raw.number<uint32_t>(static_cast<uint32_t>(ValueType::kString));
  raw.number<uint64_t>(values.size());
  for (const std::string& value : values) raw.string<uint64_t>(value);
  set(std::move(entry));
}

void Metadata::set_integers(std::string_view key, std::span<const int32_t> values) {
  set(numbers_entry(key, ValueType::kInt32, values));
}

void Metadata::set_reals(std::string_view key, std::span<const float> values) {
  set(numbers_entry(key, ValueType::kFloat32, values));
}

void Metadata::erase(std::string_view key) {
  if (!contains(key)) return;
  std::erase_if(entries_, [&](const KeyValue& e) { return e.key == key; });
  index();
}

void Metadata::erase_all(std::string_view prefix) {
  std::erase_if(entries_, [&](const KeyValue& e) { return e.key.starts_with(prefix); });
  index();
}

uint64_t data_alignment(const Metadata& metadata) {
  const KeyValue* entry = metadata.find(kAlignmentKey);
  if (entry == nullptr) return kDefaultAlignment;
  const uint64_t found = entry->type == ValueType::kUint32 ? load_number<uint32_t>(entry->raw.data()) : 0;
  if (found == 0 || found > kMaxAlignment) {
    mismatch(metadata, kAlignmentKey, fmt::format("a u32 of 1 to {}", kMaxAlignment));
  }
  return found;
}

}  // namespace steelyard::gguf
