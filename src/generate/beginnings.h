// How the texts begin that a model writes by itself. A beginning is a few tokens that are given; the rest is the
// model's. There are three kinds:
//   documents  the token that precedes a document: the first words are already the model's
//   chats      the markup that opens a user's turn: the model writes the question. Where it ends that turn, the markup
//              of its own turn follows, and it writes the answer (Xu et al. 2024, "Magpie")
//   excerpts   the first tokens of a passage of a given text: the model goes on about something that it was given
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "gguf/metadata.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::generate {

struct Beginning {
  std::vector<tokenizer::TokenId> unseen;  ///< precedes the text, and is no part of it; at most one
  std::vector<tokenizer::TokenId> ids;     ///< the text's first tokens; with `unseen` at least one
  std::vector<tokenizer::TokenId> answer;  ///< follows where the model ends its turn for the first time; may be empty
  std::optional<tokenizer::TokenId> turn_end = {};  ///< ends a turn, beside what ends generation
};

/// How often the kinds are chosen; in proportion.
struct BeginningShares {
  double documents = 1, chats = 0, excerpts = 0;
};

class Beginnings {
 public:
  /// `excerpts`: ids of a text, may be empty; each excerpt has `excerpt_tokens` of them. A kind that the model or the
  /// lack of a text does not allow gives its share to documents. Error for a model without a token to begin with.
  Beginnings(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer, BeginningShares shares,
             std::vector<tokenizer::TokenId> excerpts = {}, int64_t excerpt_tokens = 16);

  /// Whether the model's chat template has markup that is known.
  bool has_chats() const { return !chat_.ids.empty(); }

  Beginning draw(Random& random) const;

 private:
  Beginning document_, chat_;
  BeginningShares shares_;
  std::vector<tokenizer::TokenId> excerpts_;
  int64_t excerpt_tokens_;
};

}  // namespace steelyard::generate
