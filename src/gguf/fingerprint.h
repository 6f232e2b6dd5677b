// Distinguishes two models without reading them completely.
#pragma once

#include <string>

#include "gguf/reader.h"

namespace steelyard::gguf {

/// SHA-256 of the headers of all shards and of the first 4 KiB of every tensor.
std::string fingerprint(const Reader& reader);

}  // namespace steelyard::gguf
