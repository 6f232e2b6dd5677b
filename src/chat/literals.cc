#include "chat/literals.h"

namespace steelyard::chat {
namespace {

constexpr int kDeepest = 32;
constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kGemmaQuote = "<|\"|>";

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-' || c == '+' || static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

void LiteralReader::skip_space() { at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size()); }

bool LiteralReader::at_end() {
  skip_space();
  return at_ == text_.size();
}

bool LiteralReader::take(std::string_view token) {
  skip_space();
  if (!rest().starts_with(token)) return false;
  at_ += token.size();
  return true;
}

std::string LiteralReader::name() {
  skip_space();
  if (auto string = quoted()) return *string;
  const size_t begin = at_;
  while (at_ < text_.size() && is_word(text_[at_])) ++at_;
  return std::string(text_.substr(begin, at_ - begin));
}

std::optional<std::string> LiteralReader::quoted() {
  if (notation_ == Notation::kGemma) {
    if (!rest().starts_with(kGemmaQuote)) return std::nullopt;
    const size_t begin = at_ + kGemmaQuote.size(), end = text_.find(kGemmaQuote, begin);
    if (end == std::string_view::npos) return std::nullopt;
    at_ = end + kGemmaQuote.size();
    return std::string(text_.substr(begin, end - begin));
  }
  if (rest().empty() || (rest()[0] != '"' && rest()[0] != '\'')) return std::nullopt;
  const char quote = text_[at_];
  std::string string;
  for (size_t i = at_ + 1; i < text_.size(); ++i) {
    char c = text_[i];
    if (c == quote) {
      at_ = i + 1;
      return string;
    }
    if (c == '\\' && i + 1 < text_.size()) {
      c = text_[++i];
      constexpr std::string_view kLetters = "nrt0", kControls{"\n\r\t\0", 4};
      if (const size_t known = kLetters.find(c); known != std::string_view::npos)
        c = kControls[known];
      else if (c != '\\' && c != '"' && c != '\'')
        string += '\\';  // others are kept as they are written
    }
    string += c;
  }
  return std::nullopt;
}

std::optional<Json> LiteralReader::list(std::string_view close, int depth) {
  Json all = Json::array();
  while (!take(close)) {
    if (!all.empty() && !take(",")) return std::nullopt;
    if (!all.empty() && take(close)) break;
    auto element = value(depth + 1);
    if (!element) return std::nullopt;
    all.push_back(std::move(*element));
  }
  return all;
}

std::optional<Json> LiteralReader::object(int depth) {
  Json all = Json::object();
  while (!take("}")) {
    if (!all.empty() && !take(",")) return std::nullopt;
    if (!all.empty() && take("}")) break;
    const std::string key = name();
    if (key.empty() || !take(":")) return std::nullopt;
    auto field = value(depth + 1);
    if (!field) return std::nullopt;
    all[key] = std::move(*field);
  }
  return all;
}

std::optional<Json> LiteralReader::word() {
  const size_t begin = at_;
  while (at_ < text_.size() && is_word(text_[at_])) ++at_;
  const std::string_view found = text_.substr(begin, at_ - begin);
  if (found == "True" || found == "true") return Json(true);
  if (found == "False" || found == "false") return Json(false);
  if (found == "None" || found == "null" || found == "none") return Json(nullptr);
  Json number = parse_json(found);
  return number.is_number() ? std::optional(std::move(number)) : std::nullopt;
}

std::optional<Json> LiteralReader::value(int depth) {
  if (depth > kDeepest) return std::nullopt;
  skip_space();
  if (auto string = quoted()) return Json(std::move(*string));
  if (take("[")) return list("]", depth);
  if (notation_ == Notation::kPython && take("(")) return list(")", depth);
  if (take("{")) return object(depth);
  return word();
}

}  // namespace steelyard::chat
