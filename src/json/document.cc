// See document.h. The library checks the text, without a stack that grows with its depth; what walks over it afterwards
// may rely on that.
#include "json/document.h"

#include <charconv>
#include <exception>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::json {
namespace {

// Takes part in parsing and keeps nothing but where it stopped.
class Checker : public nlohmann::json_sax<Json> {
 public:
  explicit Checker(int64_t most_levels) : most_levels_(most_levels) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&, const Json::exception& error) override {
    position_ = position;
    what_ = error.what();
    return false;
  }

  bool too_deep() const { return levels_ > most_levels_; }
  size_t position() const { return position_; }
  const std::string& what() const { return what_; }

 private:
  bool open() { return ++levels_ <= most_levels_; }
  bool close() { return --levels_, true; }

  int64_t most_levels_;
  int64_t levels_ = 0;
  size_t position_ = 0;
  std::string what_;
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Goes over a text that is known to be right.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  char next() {
    while (is_space(text_[at_])) ++at_;
    return text_[at_];
  }
  void skip() { ++at_; }

  // With its quotes.
  std::string_view string() {
    const size_t begin = at_++;
    for (; text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\';
    return text_.substr(begin, ++at_ - begin);
  }

  std::string_view value() {
    const size_t begin = at_;
    int64_t open = 0;
    do {
      switch (text_[at_]) {
        case '"':
          string();
          break;
        case '[':
        case '{':
          ++open, ++at_;
          break;
        case ']':
        case '}':
          --open, ++at_;
          break;
        default:
          ++at_;
          // A number or a word is over where something else begins.
          while (at_ < text_.size() && std::string_view(",:]}[{\" \t\r\n").find(text_[at_]) == std::string_view::npos) {
            ++at_;
          }
      }
    } while (open > 0);
    return text_.substr(begin, at_ - begin);
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

// What a string in quotes says. `room` is for one that has escapes.
std::string_view decoded(std::string_view quoted, std::string& room) {
  const std::string_view inside = quoted.substr(1, quoted.size() - 2);
  if (inside.find('\\') == std::string_view::npos) return inside;
  room = Json::parse(quoted).get<std::string>();
  return room;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

Value parse_document(std::string_view text, const std::string& where, int64_t most_levels) {
  Checker checker(most_levels);
  // A byte order mark is none of JSON's characters; the library would skip it, and views would begin with it.
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!Json::sax_parse(text, &checker)) {
    if (checker.too_deep()) fail(where, "found JSON of more than {} levels", most_levels);
    fail(where, "no JSON at byte {}: {}", checker.position(), printable(checker.what(), 200));
  }
  return Value(trimmed(text));
}

Value::Kind Value::kind() const {
  switch (text_.front()) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
      return Kind::kBoolean;
    case 'n':
      return Kind::kNull;
    default:
      return Kind::kNumber;
  }
}

std::string_view Value::kind_name() const {
  constexpr std::string_view kNames[] = {"null", "true or false", "a number", "a string", "an array", "an object"};
  return kNames[static_cast<int>(kind())];
}

std::optional<std::string> Value::string() const {
  if (!is(Kind::kString)) return std::nullopt;
  std::string room;
  return std::string(decoded(text_, room));
}

std::optional<int64_t> Value::integer() const {
  int64_t value = 0;
  const char* end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<double> Value::number() const {
  if (!is(Kind::kNumber)) return std::nullopt;
  double value = 0;
  const char* end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<bool> Value::boolean() const {
  return is(Kind::kBoolean) ? std::optional(text_ == "true") : std::nullopt;
}

void Value::for_each_member(const std::function<void(std::string_view name, Value value)>& use) const {
  if (!is(Kind::kObject)) return;
  Cursor cursor(text_);
  std::string room;
  cursor.skip();
  while (cursor.next() != '}') {
    const std::string_view name = decoded(cursor.string(), room);
    STEELYARD_CHECK(cursor.next() == ':');
    cursor.skip();
    cursor.next();
    use(name, Value(cursor.value()));
    if (cursor.next() == ',') cursor.skip();
  }
}

void Value::for_each_element(const std::function<void(Value value)>& use) const {
  if (!is(Kind::kArray)) return;
  Cursor cursor(text_);
  cursor.skip();
  while (cursor.next() != ']') {
    use(Value(cursor.value()));
    if (cursor.next() == ',') cursor.skip();
  }
}

std::optional<Value> Value::find(std::string_view name) const {
  std::optional<Value> found;
  for_each_member([&](std::string_view member, Value value) {
    if (member == name) found = value;
  });
  return found;
}

}  // namespace steelyard::json
