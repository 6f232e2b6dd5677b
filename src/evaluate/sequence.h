// One given sequence of tokens, evaluated at every position: what a text's chunks are not, because only their second
// half counts. Used to compare logits with those of other programs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::evaluate {

/// Called with the logits [n, n_vocab] at the positions from `first` on, in order.
using LogitVisitor = std::function<void(int64_t first, std::span<const float> logits)>;

/// -log q of every token but the first, in nats, given those before it. `path`: of the model, for errors. Error when
/// one is not finite, which names the place where the numbers stop being finite. n_text: the sequence begins a text of
/// so many tokens (Session); 0: it is all of it.
std::vector<double> evaluate_sequence(const model::Model& model, const std::string& path,
                                      std::span<const tokenizer::TokenId> ids, int64_t n_text,
                                      const LogitVisitor& visit);

}  // namespace steelyard::evaluate
