// JSON's text: the one place where strings from anywhere become it, and where it is read. Options and results of jobs
// (jobs/json.h), requests and answers of the server, and whoever else speaks JSON go through here.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace steelyard::json {

/// Keeps the order of fields.
using Json = nlohmann::ordered_json;

/// The text of `json`, the only way from one to the other. It is UTF-8 whatever the strings in it are: bytes that are
/// none become U+FFFD. Controls of every kind are escaped, DEL and C1 too, so that it can go to a terminal. indent: -1
/// puts all on one line.
std::string json_text(const Json& json, int indent = -1);

/// JSON from outside. Discarded (is_discarded()) where the text is none, or has more levels than `most_levels` or an
/// object of more than 1000 names.
Json parse_json(std::string_view text, int64_t most_levels = 16);

}  // namespace steelyard::json
