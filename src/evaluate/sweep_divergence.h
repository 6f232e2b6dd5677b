// The divergence of a model whose weights change between two looks at it, as a gradient sweep runs it.
#pragma once

#include <cstdint>
#include <span>

#include "evaluate/divergence_base.h"
#include "schedule/gradient_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::evaluate {

/// Mean over the scored positions of these chunks, in nats. `sweep` is of `chunks`, which `base` has.
double sweep_divergence(schedule::GradientSweep& sweep, const tokenizer::Chunks& chunks, const DivergenceBase& base,
                        std::span<const int64_t> of);

}  // namespace steelyard::evaluate
