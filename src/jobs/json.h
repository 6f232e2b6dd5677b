// Options and results of jobs as JSON: the one place where either becomes the other.
//
// A struct lists its fields once, in a static member template, under the names that the command line, Python and
// provenance use, too ("--ctx-size" is "ctx_size"):
//
//   struct TextOptions {
//     std::string file;
//     int64_t ctx_size = 512;
//     template <class Self, class Visit> static void fields(Self& self, Visit&& visit) {
//       visit("file", self.file);
//       visit("ctx_size", self.ctx_size);
//     }
//   };
//
// A field is a bool, a number, a string, a vector, an optional, or a struct with fields of its own, which becomes an
// object. visit.group(self.text) puts the fields of a struct among the others; visit.bytes() is for sizes, which may be
// text such as "24GiB"; visit.if_any() leaves an optional out where it has no value, instead of writing null.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/byte_size.h"
#include "base/error.h"
#include "json/json.h"

namespace steelyard::jobs {

using json::Json;
using json::json_text;
using json::parse_json;

template <class T>
Json to_json(const T& of);

/// Sets the fields of `of` that `json` names; the others keep their values. Error for a name that is no field and for a
/// value of another kind or out of range; `where` is what the message begins with.
template <class T>
void read_json(const Json& json, T& of, std::string_view where);

// ---- how

template <class T>
struct Element {};
template <class T>
struct Element<std::vector<T>> {
  using type = T;
};
template <class T>
struct Element<std::optional<T>> {
  using type = T;
};
template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;

struct JsonWriter {
  Json& json;

  template <class T>
  void operator()(const char* name, const T& value) {
    json[name] = of(value);
  }
  void bytes(const char* name, uint64_t value) { json[name] = value; }
  template <class T>
  void if_any(const char* name, const std::optional<T>& value) {
    if (value) json[name] = of(*value);
  }
  template <class T>
  void group(const T& value) {
    T::fields(value, *this);
  }

  template <class T>
  static Json of(const T& value) {
    if constexpr (kIsOptional<T>) {
      return value ? of(*value) : Json();
    } else if constexpr (kIsVector<T>) {
      Json array = Json::array();
      for (const auto& element : value) array.push_back(of(element));
      return array;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_constructible_v<Json, const T&>) {
      return Json(value);
    } else {
      return to_json(value);
    }
  }
};

struct JsonReader {
  const Json& json;
  std::string_view where;
  std::vector<std::string_view> known = {};

  template <class T>
  void operator()(const char* name, T& value) {
    known.push_back(name);
    if (const auto found = json.find(name); found != json.end()) read(*found, value, name);
  }
  void bytes(const char* name, uint64_t& value) {
    known.push_back(name);
    const auto found = json.find(name);
    if (found == json.end()) return;
    if (found->is_string())
      value = parse_bytes(found->get<std::string>());
    else
      read(*found, value, name);
  }
  template <class T>
  void if_any(const char* name, std::optional<T>& value) {
    (*this)(name, value);
  }
  template <class T>
  void group(T& value) {
    T::fields(value, *this);
  }

  template <class T>
  void read(const Json& from, T& value, std::string_view name) const {
    const auto expected = [&](std::string_view what) {
      fail(std::string(where), "{}: expected {}, found {}", name, what, printable(json_text(from), 60));
    };
    if constexpr (kIsOptional<T>) {
      if (from.is_null()) return value.reset();
      read(from, value.emplace(), name);
    } else if constexpr (kIsVector<T>) {
      value.clear();
      if (!from.is_array()) expected("a list");
      for (const Json& element : from) read(element, value.emplace_back(), name);
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!from.is_boolean()) expected("true or false");
      value = from.get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
      if (!from.is_number_integer()) expected("a whole number");
      const bool fits =
          from.is_number_unsigned() ? std::in_range<T>(from.get<uint64_t>()) : std::in_range<T>(from.get<int64_t>());
      if (!fits)
        expected(fmt::format("a number from {} to {}", std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
      value = from.get<T>();
    } else if constexpr (std::is_floating_point_v<T>) {
      if (!from.is_number()) expected("a number");
      value = from.get<T>();
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!from.is_string()) expected("text");
      value = from.get<std::string>();
    } else {
      read_json(from, value, where);
    }
  }
};

template <class T>
Json to_json(const T& of) {
  Json json = Json::object();
  T::fields(of, JsonWriter{json});
  return json;
}

template <class T>
void read_json(const Json& json, T& of, std::string_view where) {
  if (!json.is_object()) fail(std::string(where), "expected names and values");
  JsonReader reader{json, where};
  T::fields(of, reader);
  for (const auto& [name, value] : json.items()) {
    if (std::find(reader.known.begin(), reader.known.end(), name) == reader.known.end()) {
      fail(std::string(where), "unknown option \"{}\"", printable(name));
    }
  }
}

}  // namespace steelyard::jobs
