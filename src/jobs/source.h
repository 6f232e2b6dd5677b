// A model that a job reads: the one place that knows what may stand where a model is asked for.
#pragma once

#include <memory>
#include <string>

#include "gguf/source.h"

namespace steelyard::jobs {

/// A GGUF file, the first of its shards, or a folder of Hugging Face. Error as its reader has it.
std::unique_ptr<const gguf::Source> open_source(const std::string& path,
                                                gguf::ReadMode mode = gguf::ReadMode::kData);

/// The last part of a path, which may be that of a folder.
std::string model_name(const std::string& path);

}  // namespace steelyard::jobs
