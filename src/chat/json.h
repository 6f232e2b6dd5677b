// JSON in this folder: messages as clients send them, and the way to and from the process that renders. Objects keep
// the order of their names, because templates print them.
#pragma once

#include <string_view>

#include "json/json.h"

namespace steelyard::chat {

using json::Json;
using json::json_text;

/// JSON of a model or a client. Discarded (is_discarded()) where the text is none, or is nested more deeply, or has
/// more names, than anything that is meant.
inline Json parse_json(std::string_view text) { return json::parse_json(text, /*most_levels=*/64); }

}  // namespace steelyard::chat
