// How the two branches of a layer, its mixer and its FFN, read the residual streams of hidden states and add to them. A
// row of hidden states is described by StreamsConfig.
#pragma once

#include "model/forward.h"

namespace steelyard::model {

enum class Branch { kMixer, kFfn };

/// What a branch reads.
struct BranchInput {
  Matrix x;        ///< [n, n_embd], before the norm; a view of the hidden states, or in scratch memory
  Matrix weights;  ///< of its output, for add_branch; empty where there are none
};

BranchInput read_branch(const Layer& layer, Branch branch, Matrix hidden, ForwardContext& ctx);
/// y: [n, n_embd], the branch's output.
void add_branch(const Layer& layer, Branch branch, const BranchInput& input, Matrix y, Matrix hidden,
                ForwardContext& ctx);

/// What the head reads [n, n_embd], before the last norm.
Matrix read_head(const StreamsConfig& streams, const StreamsWeights& w, Matrix hidden, ForwardContext& ctx);

// ---- StreamsConfig::Kind::kLowRank (low_rank_streams.cc)

/// What a branch or the head reads; weights are the gates of a branch's output, before the sigmoid.
BranchInput read_low_rank(const StreamsConfig& streams, const StreamsWeights& w, Matrix hidden, ForwardContext& ctx);
void add_low_rank(const StreamsConfig& streams, Matrix gates, Matrix y, Matrix hidden, ForwardContext& ctx);

/// Sets hidden states [n, row_width] to those of tokens with embeddings `embedded` [n, n_embd].
void spread(const StreamsConfig& streams, Matrix embedded, std::span<const int32_t> ids, Matrix hidden,
            Backend& backend);
/// The tokens' ids, where hidden states have them.
std::vector<int32_t> token_ids(const StreamsConfig& streams, Matrix hidden, ForwardContext& ctx);

}  // namespace steelyard::model
