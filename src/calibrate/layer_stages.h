// The order in which a layer's linears are rounded. What reads another linear's output is rounded after it, so that it
// sees the inputs that it will have; linears of one stage do not read each other. CalibratedLayers goes through the
// stages, and the plan of memory asks what the largest one holds.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/forward.h"

namespace steelyard::calibrate {

inline constexpr int kStages = 9;

/// The stage of a linear, 0 to kStages - 1.
int stage_of(std::string_view tensor);

/// What a stage is called in reports.
std::string_view stage_name(int stage);

/// The part of the layer that a stage's linears are in. Nothing before that part has to be computed again for them.
model::LayerPart part_of(int stage);

/// Whether a stage's linears read what their layer's FFN reads.
bool is_ffn_input(int stage);

/// Whether half of the text is tried alone in this layer, to see what the other half has brought: in some layers,
/// spread over all. It costs half a pass of the text, and one more rounding of some rows.
bool compares_half(int layer, int n_layers);

}  // namespace steelyard::calibrate
