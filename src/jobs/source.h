// A model that a job reads: the one place that knows what may stand where a model is asked for.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "plan/findings.h"
#include "plan/resolve.h"

namespace steelyard::jobs {

/// A GGUF file, the first of its shards, or a folder of Hugging Face. Error as its reader has it.
std::unique_ptr<const gguf::Source> open_source(const std::string& path, gguf::ReadMode mode = gguf::ReadMode::kData);

/// What only the source shows: parts of a folder that are left out, and types that make a tensor larger than it was
/// published.
void add_source_findings(const gguf::Source& source, std::span<const plan::Decision> decisions,
                         std::vector<plan::Finding>& found);

/// The last part of a path, which may be that of a folder.
std::string model_name(const std::string& path);

}  // namespace steelyard::jobs
