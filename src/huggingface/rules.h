// Lists of tensors that architectures share, and the arrangements that several have.
#pragma once

#include "huggingface/architecture.h"

namespace steelyard::huggingface {

/// Embedding, last norm, output matrix.
std::span<const TensorRule> outer_rules();
/// Norms of a block and attention with matrices of its own for queries, keys and values.
std::span<const TensorRule> attention_rules();
/// The same where pairs of RoPE are neighbours in GGUF, and halves in the checkpoint.
std::span<const TensorRule> paired_attention_rules();
/// Feed-forward networks without experts.
std::span<const TensorRule> dense_rules();
/// Routers, experts, one by one or stacked, and shared experts.
std::span<const TensorRule> expert_rules();
/// Blocks that predict further tokens, besides what they have as other blocks do.
std::span<const TensorRule> prediction_rules();

/// Rows of queries or keys, a head's halves of pairs put side by side.
View paired_heads(const View& view, int64_t n_head);

/// The first and the second half of the rows of every expert [n_expert, 2 n, n_in].
View first_half(const View& view, const Config&);
View second_half(const View& view, const Config&);

float plus_one(float x);

/// Llama 3.1's RoPE: frequencies below the original context are divided, those far above stay, and between them the
/// factor goes from one to the other (transformers, modeling_rope_utils.py, "llama3"). Nothing for other kinds.
std::vector<GeneratedTensor> llama3_factors(const Config& config);

}  // namespace steelyard::huggingface
