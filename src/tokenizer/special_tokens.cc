// See special_tokens.h.
#include "tokenizer/special_tokens.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace steelyard {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.n_tokens(); ++id) {
    const TokenType type = vocabulary.type(id);
    const bool on_demand = type == TokenType::kControl || type == TokenType::kUnknown;
    const std::string_view text = vocabulary.text(id);
    if ((!on_demand && type != TokenType::kUserDefined) || text.empty()) continue;
    tokens_.emplace(text, Token{id, on_demand});
    std::vector<size_t>& lengths = lengths_[static_cast<uint8_t>(text[0])];
    if (std::find(lengths.begin(), lengths.end(), text.size()) == lengths.end()) lengths.push_back(text.size());
  }
}

std::vector<Fragment> SpecialTokens::divide(std::string_view text, bool parse_special) const {
  struct Match {
    size_t begin;
    size_t length;
    TokenId id;
  };
  std::vector<Match> matches;
  for (size_t i = 0; i < text.size(); ++i) {
    for (const size_t length : lengths_[static_cast<uint8_t>(text[i])]) {
      if (length > text.size() - i) continue;
      const auto token = tokens_.find(text.substr(i, length));
      if (token == tokens_.end() || (token->second.on_demand && !parse_special)) continue;
      matches.push_back({i, length, token->second.id});
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

}  // namespace steelyard
