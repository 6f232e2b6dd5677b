// GGUF metadata: an ordered list of key-value pairs. Values stay the bytes that they had in the file, so unknown keys
// are copied byte for byte; typed access decodes values on demand.
//
// Layout of a value: docs/gguf.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/text_hash.h"

namespace steelyard::gguf {

/// Value types of GGUF v2/v3; the value is the id in the file.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

/// "u32", "string", ...
std::string_view name(ValueType type);

/// One entry. `raw` is the value as in the file, after the type id: for a string its u64 length and bytes; for an array
/// element type, u64 count, elements.
struct KeyValue {
  std::string key;
  ValueType type;
  std::string raw;
};

/// Ordered and duplicate-free. Every entry is well formed (the reader checks once), so typed access only has to compare
/// types. Getters without a fallback throw Error naming source and key when the key is missing or of another kind.
class Metadata {
 public:
  /// `source`: the file name for messages.
  explicit Metadata(std::string source = "") : source_(std::move(source)) {}
  /// Takes entries that are already known to be well formed and free of duplicates (used by the reader).
  Metadata(std::string source, std::vector<KeyValue> entries);

  const std::vector<KeyValue>& entries() const { return entries_; }
  const std::string& source() const { return source_; }
  const KeyValue* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  // Integers of any width and bool convert when the value fits; floats of any width convert; integers read as floats.
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t absent) const;
  double real(std::string_view key) const;
  double real(std::string_view key, double absent) const;
  bool boolean(std::string_view key, bool absent) const;
  std::string_view string(std::string_view key) const;
  std::string_view string(std::string_view key, std::string_view absent) const;

  /// Views into the entry: valid while the Metadata lives and the key is not set again.
  std::vector<std::string_view> strings(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  /// Of any width; negative ones are refused.
  std::vector<uint64_t> unsigned_integers(std::string_view key) const;
  std::vector<double> reals(std::string_view key) const;
  /// Number of elements of an array value.
  uint64_t array_size(std::string_view key) const;

  /// Appends, or replaces in place when the key exists. Error if `raw` is not exactly one value of `type`.
  void set(KeyValue entry);
  void set_integer(std::string_view key, uint32_t value);  ///< stored as u32
  void set_real(std::string_view key, float value);        ///< stored as f32
  void set_boolean(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_integers(std::string_view key, std::span<const int32_t> values);  ///< stored as i32
  void set_reals(std::string_view key, std::span<const float> values);       ///< stored as f32
  void erase(std::string_view key);
  /// All whose keys begin so.
  void erase_all(std::string_view prefix);

 private:
  void index();

  std::string source_;
  std::vector<KeyValue> entries_;
  std::unordered_map<std::string, size_t, TextHash, std::equal_to<>> places_;  // of keys in entries_
};

inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr uint64_t kDefaultAlignment = 32;
inline constexpr uint64_t kMaxAlignment = 65536;

/// Reads one value and returns its bytes, as they stand in KeyValue::raw. Error if it is malformed or does not fit what
/// is left; the work is linear in the bytes consumed, whatever counts it claims. Called by the reader of files.
std::string_view read_value(ByteReader& in, ValueType type);

/// general.alignment, or 32. Error unless it is a u32 of 1 to kMaxAlignment.
uint64_t data_alignment(const Metadata& metadata);

}  // namespace steelyard::gguf
