// JSON in this folder: messages as clients send them, and the way to and from the process that renders. Objects keep
// the order of their names, because templates print them.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace steelyard::chat {

using Json = nlohmann::ordered_json;

/// JSON of a model or a client. Discarded (is_discarded()) where the text is none, or is nested more deeply, or has
/// more names, than anything that is meant (base/json_size.h).
Json parse_json(std::string_view text);

}  // namespace steelyard::chat
