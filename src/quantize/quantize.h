// The journey of a model's tensors: resolved → checked → header written → each tensor encoded in file order → renamed into
// place.
#pragma once

#include <functional>
#include <string>

#include "gguf/writer.h"
#include "quantize/preflight.h"

namespace steelyard {

/// Called when tensor `index` of `count` is written.
using QuantizeProgress = std::function<void(const Decision& decision, size_t index, size_t count)>;

/// Writes `target`. Throws before any byte is written when check(job) finds a fault; leaves nothing under the target's name
/// when anything fails later. Returns the size of the file in bytes.
uint64_t quantize(const QuantizeJob& job, const std::string& target, const QuantizeProgress& progress);

/// The metadata of the result: the source's, less what no longer holds (shard numbers, file type), plus where the
/// importance came from under the keys that llama.cpp uses.
gguf::Metadata result_metadata(const QuantizeJob& job);

}  // namespace steelyard
