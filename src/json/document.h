// JSON of any size from outside, read without a tree: headers of safetensors, tokenizers of 35 MB. The text is checked
// once as a whole; a Value is then a view of a part of it, and whoever reads goes through members and elements in the
// order of the text. So memory stays at that of the text, and time is linear in it for each level that is entered.
// What is small becomes a tree by small(). Who parses files of configuration only: json.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "json/json.h"

namespace steelyard::json {

/// A part of a document that is known to be right. The document must outlive it.
class Value {
 public:
  enum class Kind { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Kind kind() const;
  /// "a string", "an object", ...: for messages.
  std::string_view kind_name() const;
  bool is(Kind kind) const { return this->kind() == kind; }
  /// As it stands in the document.
  std::string_view text() const { return text_; }

  // Each is nothing where the value is of another kind, or does not fit.
  std::optional<std::string> string() const;
  std::optional<int64_t> integer() const;  ///< without a fraction or an exponent
  std::optional<double> number() const;
  std::optional<bool> boolean() const;

  /// Calls `use` with each member of an object, in the order of the text. Names are decoded, and may come twice; the
  /// view of one lasts until `use` returns. Nothing is called for other values.
  void for_each_member(const std::function<void(std::string_view name, Value value)>& use) const;
  /// The same for the elements of an array.
  void for_each_element(const std::function<void(Value value)>& use) const;
  /// The last member of this name, which is what a parser that builds a tree keeps.
  std::optional<Value> find(std::string_view name) const;

  /// As a tree, by parse_json and its limits.
  Json small(int64_t most_levels = 16) const { return parse_json(text_, most_levels); }

 private:
  friend Value parse_document(std::string_view text, const std::string& where, int64_t most_levels);
  explicit Value(std::string_view text) : text_(text) {}

  std::string_view text_;
};

/// Error at `where` that names the byte, unless `text` is one value of JSON in UTF-8, of at most `most_levels` levels.
/// `text` must outlive what is returned.
Value parse_document(std::string_view text, const std::string& where, int64_t most_levels = 32);

}  // namespace steelyard::json
