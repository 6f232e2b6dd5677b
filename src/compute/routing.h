// Expert selection of one token, and the sorting of slots by expert: scalar code that every host backend shares.
#pragma once

#include <span>

#include "compute/backend.h"

namespace steelyard::compute {

/// Chooses args.n_used experts from one token's logits [n_expert] in descending order of selection score (ties go to
/// the lower expert) and writes their ids and mixing weights. scratch: [2 * n_expert].
///
/// probs = gating(logits); the score adds the selection bias; groups beyond the best are excluded; weights are the
/// probs of the chosen, optionally normalised, then scaled. (DeepSeek-V3 technical report, section 2.1.2; the group
/// score is the sum of a group's two best.) chosen: the token's row of RouteArgs::chosen, or null.
void select_experts(std::span<const float> logits, const RouteArgs& args, std::span<float> scratch, int32_t* expert,
                    float* weight, const int32_t* chosen = nullptr);

/// dlogits [n_expert] += the gradient of what select_experts made of one token's logits, from that of the chosen
/// experts' weights [n_used]; which experts are chosen is held constant. scratch: [n_expert + n_used].
void add_selection_gradient(std::span<const float> logits, const RouteArgs& args, const int32_t* expert,
                            const float* dweight, std::span<double> scratch, float* dlogits);

/// Fills row, token and row_begin from expert: a counting sort that keeps tokens in order within an expert.
void sort_by_expert(Routing& routing);

}  // namespace steelyard::compute
