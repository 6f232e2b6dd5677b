// Values of a GGUF file's metadata as JSON for people: long texts are cut, arrays are counted, control characters are
// spelled. Provenance is shown whole. Called by inspect.
#pragma once

#include <string>

#include "gguf/metadata.h"
#include "jobs/json.h"

namespace steelyard::jobs {

/// Scalars and strings as they are, an array as "array of N".
Json value_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry);

/// Whether quantize wrote it to say how the file was made.
bool is_provenance(const gguf::KeyValue& entry);

/// Where the file comes from: a text of several lines as a list of them, options as an object, the arguments of earlier
/// versions as a list of words; of the checksums only how many there are.
Json provenance_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry);

/// Type and value beside those of the same key in `other`, if it has that: of arrays what stands where they begin to
/// differ.
std::string value_beside(const gguf::Metadata& metadata, const gguf::KeyValue& entry, const gguf::Metadata& other);

}  // namespace steelyard::jobs
