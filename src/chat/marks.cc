#include "chat/marks.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace steelyard::chat {
namespace {

// Of control tokens whose parts are looked for, in bytes; all their parts are kept. No model has a longer one.
constexpr size_t kLongest = 256;

// A character of the last plane, which is for private use.
std::string private_character(uint32_t n) {
  const uint32_t code = 0x100000 + n;
  return {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
          static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
}

}  // namespace

Marks::Marks(const tokenizer::Tokenizer& tokenizer) {
  for (const std::string_view name : tokenizer.control_tokens()) {
    matcher_.add(name, 0);
    if (name.size() > kLongest) continue;
    for (size_t size = 1; size < name.size(); ++size) {
      beginnings_.insert(name.substr(0, size));
      ends_.insert(name.substr(name.size() - size));
    }
    longest_ = std::max(longest_, name.size() - 1);
  }
  matcher_.finish();
}

Marks::Pair Marks::choose(std::initializer_list<std::string_view> texts) {
  constexpr uint32_t kCharacters = 0xFFFE;
  std::vector<std::string> free;
  for (uint32_t n = 0; n < kCharacters && free.size() < 2; ++n) {
    std::string candidate = private_character(n);
    const bool occurs = std::ranges::any_of(
        texts, [&](std::string_view text) { return text.find(candidate) != std::string_view::npos; });
    if (!occurs) free.push_back(std::move(candidate));
  }
  STEELYARD_CHECK(free.size() == 2);
  return {free[0], free[1]};
}

bool Marks::mark(std::string& text, const Pair& pair) const {
  std::vector<size_t> opens, closes;
  if (!matcher_.empty()) {
    matcher_.match(text, [&](size_t begin, int32_t word) {
      opens.push_back(begin);
      closes.push_back(begin + matcher_.word(word).length);
    });
  }
  for (size_t size = std::min(longest_, text.size()); size > 0; --size) {
    if (beginnings_.contains(std::string_view(text).substr(text.size() - size))) opens.push_back(text.size() - size);
    if (ends_.contains(std::string_view(text).substr(0, size))) closes.push_back(size);
  }
  if (opens.empty() && closes.empty()) return false;
  std::ranges::sort(opens);
  std::ranges::sort(closes);
  std::string marked;
  auto open = opens.begin(), close = closes.begin();
  for (size_t i = 0; i <= text.size(); ++i) {
    for (; close != closes.end() && *close == i; ++close) marked += pair.close;
    for (; open != opens.end() && *open == i; ++open) marked += pair.open;
    if (i < text.size()) marked += text[i];
  }
  text = std::move(marked);
  return true;
}

bool Marks::mark(Json& json, const Pair& pair) const {
  if (json.is_string()) return mark(json.get_ref<std::string&>(), pair);
  bool any = false;
  if (json.is_array()) {
    for (Json& element : json) any |= mark(element, pair);
  } else if (json.is_object()) {
    std::vector<std::pair<std::string, Json>> fields;
    bool any_name = false;
    for (auto& [name, value] : json.items()) {
      any |= mark(value, pair);
      fields.emplace_back(name, Json());
      any_name |= mark(fields.back().first, pair);
    }
    if (!any_name) return any;  // nearly always: an object is made again only where it must be
    size_t i = 0;
    for (auto& [name, value] : json.items()) fields[i++].second = std::move(value);
    json = Json::object();
    for (auto& [name, value] : fields) json[name] = std::move(value);
    any = true;
  }
  return any;
}

Rendered Marks::unmark(std::string_view text, const Pair& pair) const {
  Rendered rendered;
  std::vector<size_t> opens, closes, all;
  for (size_t i = 0; i < text.size();) {
    const bool is_open = text.substr(i).starts_with(pair.open), is_close = text.substr(i).starts_with(pair.close);
    if (is_open || is_close) {
      (is_open ? opens : closes).push_back(rendered.text.size());
      all.push_back(rendered.text.size());
      i += pair.open.size();
    } else {
      rendered.text += text[i++];
    }
  }
  if (all.empty() || matcher_.empty()) return rendered;
  std::vector<tokenizer::TextRange> found;  // from the last to the first
  matcher_.match(rendered.text, [&](size_t begin, int32_t word) {
    const size_t end = begin + matcher_.word(word).length;
    const auto inside = std::ranges::upper_bound(all, begin);
    const bool is_divided = inside != all.end() && *inside < end;
    const bool is_enclosed = std::ranges::binary_search(opens, begin) && std::ranges::binary_search(closes, end);
    if (is_divided || is_enclosed) found.push_back({begin, end});
  });
  for (auto range = found.rbegin(); range != found.rend(); ++range) {
    if (!rendered.literal.empty() && range->begin < rendered.literal.back().end)
      rendered.literal.back().end = std::max(rendered.literal.back().end, range->end);
    else
      rendered.literal.push_back(*range);
  }
  return rendered;
}

}  // namespace steelyard::chat
