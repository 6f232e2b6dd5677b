// Whether a file on the disk is still what quantize wrote: compares every tensor with its checksum in the metadata.
#pragma once

#include <functional>
#include <string>

#include "gguf/source.h"

namespace steelyard::quantize {

/// Reads all of `file` (opened with its data). Error naming the first tensor whose bytes differ, or when the file has
/// no checksums. `progress` is called on the caller's thread, with how many tensors are done.
void verify(const gguf::Source& file, const std::function<void(size_t done, size_t count)>& progress);

}  // namespace steelyard::quantize
