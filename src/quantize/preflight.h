// Everything that can be known to be wrong before the first byte is written: types that cannot be encoded, importance
// that is missing or belongs to another model, quantized sources, a target that is its own source.
#pragma once

#include <string>

#include "gguf/reader.h"
#include "imatrix/imatrix.h"
#include "plan/resolve.h"

namespace steelyard {

struct QuantizeJob {
  const gguf::Reader& source;
  const Resolution& resolution;
  const Imatrix* imatrix = nullptr;  ///< null: none given
  bool allow_requantize = false;     ///< quantize again what is quantized already
};

/// Throws one Error that lists all faults of the job (the first few in full, then how many more).
void check(const QuantizeJob& job);

/// Error when `target` is one of the files that `source` reads: it would be lost while it is read.
void check_target(const gguf::Reader& source, const std::string& target);

}  // namespace steelyard
