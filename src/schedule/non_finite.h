// Where a forward pass becomes non-finite: a second, slow pass, run only after logits turned out to be broken.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "model/model.h"

namespace steelyard::schedule {

/// Runs `ids` (not empty) from an empty context once more, one layer at a time, and names the first place that gives a
/// non-finite number: "the token embeddings", "block 3", "the output head"; after it the first position. Says so when
/// there is none. Meant for messages: fail(path, "the logits are not finite: first in {}", first_non_finite(model,
/// session.ids())).
std::string first_non_finite(const model::Model& model, std::span<const int32_t> ids);

}  // namespace steelyard::schedule
