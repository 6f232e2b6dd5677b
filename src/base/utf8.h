// Which bytes are UTF-8. For messages (error.h) and for text that comes from outside (text_file.h).
#pragma once

#include <cstddef>
#include <string_view>

namespace steelyard {

/// Length of the UTF-8 sequence that starts at text[i], 0 if it is not well formed (RFC 3629).
size_t utf8_length(std::string_view text, size_t i);

}  // namespace steelyard
