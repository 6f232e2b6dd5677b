// Removes blocks from a model: their tensors go, later blocks move up, and the metadata that describes blocks follows.
// Called by apply() of quantize/edits.h.
#pragma once

#include <string_view>
#include <vector>

#include "quantize/edits.h"

namespace steelyard::quantize {

/// Removes `layers` (ascending, each once). Errors as apply().
void prune(EditedModel& model, const std::vector<int64_t>& layers);

/// The blocks of a list like "3,7-9", ascending, each once. Error if the text is not such a list.
std::vector<int64_t> parse_layers(std::string_view list);

}  // namespace steelyard::quantize
