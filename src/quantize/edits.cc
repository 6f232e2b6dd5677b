// --override-kv: converts a value given as text to the type that the file has for the key.
#include "quantize/edits.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "gguf/value_type.h"
#include "quantize/prune.h"

namespace steelyard::quantize {
namespace {

using gguf::ValueType;

// All of `text` as a number.
template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// KEY=TYPE:VALUE in parts; TYPE and VALUE are not checked.
struct Assignment {
  std::string_view key, type, value;
};

Assignment take_apart(std::string_view text) {
  const size_t equals = text.find('=');
  const size_t colon = equals == text.npos ? text.npos : text.find(':', equals);
  if (colon == text.npos || equals == 0) fail("", "--override-kv {}: expected KEY=TYPE:VALUE", printable(text));
  return {text.substr(0, equals), text.substr(equals + 1, colon - equals - 1), text.substr(colon + 1)};
}

template <typename... Args>
[[noreturn]] void reject(const Assignment& at, fmt::format_string<Args...> format, Args&&... args) {
  fail("", "--override-kv {}: {}", printable(at.key), fmt::format(format, std::forward<Args>(args)...));
}

// Error unless `key` is absent or has a type that `fits`.
template <typename Fits>
void check_type(const gguf::Metadata& metadata, const Assignment& at, const Fits& fits) {
  const gguf::KeyValue* entry = metadata.find(at.key);
  if (entry != nullptr && !fits(entry->type)) {
    reject(at, "the value is {}, but {} has {} there", printable(at.type), metadata.source(), name(entry->type));
  }
}

// The bytes of `value` as an integer type, if it is one and the value fits.
std::optional<std::string> encoded(ValueType type, int64_t value) {
  const auto convert = [&]<class T>() -> std::optional<std::string> {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (!std::in_range<T>(value)) return std::nullopt;
      const T stored = static_cast<T>(value);
      return std::string(reinterpret_cast<const char*>(&stored), sizeof(stored));
    } else {
      return std::nullopt;
    }
  };
  return gguf::visit_number(type, convert, std::optional<std::string>());
}

bool is_integer(ValueType type) { return encoded(type, 0).has_value(); }

void override_integer(gguf::Metadata& metadata, const Assignment& at) {
  const auto value = number<int64_t>(at.value);
  if (!value) reject(at, "\"{}\" is no integer of at most 63 bits", printable(at.value));
  check_type(metadata, at, is_integer);
  set_integer(metadata, at.key, *value);
}

void override_float(gguf::Metadata& metadata, const Assignment& at) {
  const auto value = number<double>(at.value);
  if (!value || !std::isfinite(*value)) reject(at, "\"{}\" is no finite number", printable(at.value));
  check_type(metadata, at, [](ValueType type) { return type == ValueType::kFloat32 || type == ValueType::kFloat64; });
  const gguf::KeyValue* entry = metadata.find(at.key);
  if (entry != nullptr && entry->type == ValueType::kFloat64) {
    metadata.set({std::string(at.key), ValueType::kFloat64,
                  std::string(reinterpret_cast<const char*>(&*value), sizeof(double))});
    return;
  }
  if (std::abs(*value) > std::numeric_limits<float>::max()) reject(at, "{} does not fit f32", *value);
  metadata.set_real(at.key, static_cast<float>(*value));
}

void override_bool(gguf::Metadata& metadata, const Assignment& at) {
  if (at.value != "true" && at.value != "false") reject(at, "\"{}\" is neither true nor false", printable(at.value));
  check_type(metadata, at, [](ValueType type) { return type == ValueType::kBool; });
  metadata.set_boolean(at.key, at.value == "true");
}

void override_string(gguf::Metadata& metadata, const Assignment& at) {
  check_type(metadata, at, [](ValueType type) { return type == ValueType::kString; });
  metadata.set_string(at.key, at.value);
}

}  // namespace

void set_integer(gguf::Metadata& metadata, std::string_view key, int64_t value) {
  std::vector<ValueType> types = {ValueType::kUint32, ValueType::kInt32, ValueType::kUint64, ValueType::kInt64};
  if (const gguf::KeyValue* entry = metadata.find(key)) types.insert(types.begin(), entry->type);
  for (const ValueType type : types) {
    if (auto raw = encoded(type, value)) return metadata.set({std::string(key), type, std::move(*raw)});
  }
}

void override_value(gguf::Metadata& metadata, std::string_view assignment) {
  const Assignment at = take_apart(assignment);
  if (at.type == "int")
    override_integer(metadata, at);
  else if (at.type == "float")
    override_float(metadata, at);
  else if (at.type == "bool")
    override_bool(metadata, at);
  else if (at.type == "str")
    override_string(metadata, at);
  else
    reject(at, "type \"{}\" is unknown, expected int, float, bool or str", printable(at.type));
}

EditedModel apply(const Edits& edits, const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors) {
  EditedModel model{metadata, {tensors.begin(), tensors.end()}, {}};
  for (const gguf::TensorInfo& tensor : tensors) model.names.push_back({tensor.name, tensor.name});
  if (!edits.prune_layers.empty()) prune(model, parse_layers(edits.prune_layers));
  std::set<std::string_view> keys;
  for (const std::string& assignment : edits.overrides) {
    const auto [key, is_new] = keys.insert(take_apart(assignment).key);
    if (!is_new) fail("", "--override-kv {} is given twice", printable(*key));
    override_value(model.metadata, assignment);
  }
  return model;
}

}  // namespace steelyard::quantize
