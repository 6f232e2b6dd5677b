// See special_tokens.h.
#include "tokenizer/special_tokens.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace steelyard::tokenizer {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    const TokenType type = vocabulary.type(id);
    const bool on_demand = type == TokenType::kControl || type == TokenType::kUnknown;
    const std::string_view text = vocabulary.text(id);
    if ((!on_demand && type != TokenType::kUserDefined) || text.empty()) continue;
    tokens_.push_back({text, id, on_demand});
  }
  // A vocabulary may list a text more than once. One token of it is enough: one that needs no demand, the first of
  // them.
  std::ranges::sort(tokens_, {}, [](const Token& token) { return std::tuple(token.text, token.on_demand, token.id); });
  const auto repeated = std::ranges::unique(tokens_, {}, &Token::text);
  tokens_.erase(repeated.begin(), repeated.end());
  for (size_t first = 0; first < 256; ++first) starting_[first] = with_byte(tokens_, 0, static_cast<char>(first));
}

// Those of `tokens`, which are sorted and share their first `at` bytes, that continue with `byte`.
std::span<const SpecialTokens::Token> SpecialTokens::with_byte(std::span<const Token> tokens, size_t at, char byte) {
  // A token that ends here sorts before all that continue.
  const auto byte_at = [at](const Token& token) {
    return at < token.text.size() ? int{static_cast<uint8_t>(token.text[at])} : -1;
  };
  const int wanted = static_cast<uint8_t>(byte);
  return {std::ranges::lower_bound(tokens, wanted, {}, byte_at), std::ranges::upper_bound(tokens, wanted, {}, byte_at)};
}

std::vector<Fragment> SpecialTokens::divide(std::string_view text, bool parse_special) const {
  struct Match {
    size_t begin;
    size_t length;
    TokenId id;
  };
  std::vector<Match> matches;
  for (size_t i = 0; i < text.size(); ++i) {
    std::span<const Token> tokens = starting_[static_cast<uint8_t>(text[i])];
    for (size_t length = 1; !tokens.empty(); ++length) {
      const Token& shortest = tokens.front();
      if (shortest.text.size() == length && (parse_special || !shortest.on_demand)) {
        matches.push_back({i, length, shortest.id});
      }
      if (i + length == text.size()) break;
      tokens = with_byte(tokens, length, text[i + length]);
    }
  }
  std::sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
    return std::tuple(b.length, a.id, a.begin) < std::tuple(a.length, b.id, b.begin);
  });
  std::map<size_t, Match> taken;  // by begin; they do not overlap
  for (const Match& match : matches) {
    const auto next = taken.lower_bound(match.begin);
    if (next != taken.end() && next->first < match.begin + match.length) continue;
    if (next != taken.begin() && std::prev(next)->first + std::prev(next)->second.length > match.begin) continue;
    taken.emplace_hint(next, match.begin, match);
  }

  std::vector<Fragment> fragments;
  size_t done = 0;
  for (const auto& [begin, match] : taken) {
    if (begin > done) fragments.push_back({text.substr(done, begin - done)});
    fragments.push_back({text.substr(begin, match.length), match.id});
    done = begin + match.length;
  }
  if (done < text.size()) fragments.push_back({text.substr(done)});
  return fragments;
}

}  // namespace steelyard::tokenizer
