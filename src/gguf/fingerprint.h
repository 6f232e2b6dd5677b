// Distinguishes two models without reading them completely.
#pragma once

#include <string>

#include "gguf/source.h"

namespace steelyard::gguf {

/// SHA-256 of the headers of all shards and of the first 4 KiB of every tensor.
std::string fingerprint(const Source& reader);

}  // namespace steelyard::gguf
