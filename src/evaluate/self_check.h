// Compares a model with itself, in batches of another size: the differences are due to rounding alone. A divergence
// that is not well above this floor says nothing.
#pragma once

#include <vector>

#include "evaluate/score.h"
#include "evaluate/token_score.h"

namespace steelyard::evaluate {

/// Scores every chunk in one batch (the model) against the same chunk in pieces of `n_piece` tokens (the base). Error
/// that names the first broken block when a likelihood is not finite.
std::vector<TokenScore> self_check(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_piece,
                                   const std::function<void(std::span<const TokenScore>)>& progress);

}  // namespace steelyard::evaluate
