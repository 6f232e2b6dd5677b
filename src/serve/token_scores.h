// Probabilities of tokens from logits, as logarithms: of the one that was chosen or that a prompt has, and of the
// likeliest. Called by the engine.
#pragma once

#include <cstdint>
#include <span>

#include "serve/text_request.h"

namespace steelyard::serve {

/// The score of `id` under logits [n_vocab], and the n_top likeliest tokens; among equally likely ones the lower id is
/// first.
ScoredToken score_token(std::span<const float> logits, tokenizer::TokenId id, int64_t n_top);

}  // namespace steelyard::serve
