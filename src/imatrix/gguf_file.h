// The GGUF layout of an importance matrix (docs/imatrix.md). Called by Imatrix::load and Imatrix::save only, which
// check the values.
#pragma once

#include <string>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// Error if the GGUF file is not an imatrix, or a tensor lacks its partner, type or shape.
Imatrix load_gguf_imatrix(const std::string& path);

/// Writes what load_gguf_imatrix read from a file of llama.cpp with the same bytes again.
void save_gguf_imatrix(const Imatrix& imatrix, const std::string& path);

}  // namespace steelyard::imatrix
