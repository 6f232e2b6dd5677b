// Greedy answers to many prompts: always the most likely token, what no seed or temperature changes. They are decoded
// together, as BatchDecoder does, and an answer does not depend on the others. Called by perplexity, which compares
// those of two models.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::generate {

/// The tokens that follow each prompt, up to the one that ends generation, which is left out, and at most n_most.
/// Prompts have at least one token. `done`: called after each answer with the number of answers so far; may be empty.
/// Error for everything that Session refuses, and where logits are not finite.
std::vector<std::vector<tokenizer::TokenId>> greedy_answers(const model::Model& model,
                                                            const tokenizer::Tokenizer& tokenizer,
                                                            std::span<const std::vector<tokenizer::TokenId>> prompts,
                                                            int64_t n_most,
                                                            const std::function<void(int64_t)>& done = {});

}  // namespace steelyard::generate
