// What entries of an importance matrix have to do with the tensors of a model, beyond equal names.
//
// Matrices that read the same input have the same importance: gate and up of a layer, queries, keys and values. Models
// have them fused or apart, and a file may have entries of some of them only. So an entry serves the others as well.
// Entries that serve no tensor say that the file belongs to another model. For plan, quantize and search.
#pragma once

#include <span>
#include <string>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// Gives each tensor that has no entry, or one that saw no input, a copy of the entry of a matrix that reads the same
/// input (ImatrixEntry::shared_from), and fills Imatrix::strangers. Nothing is shared where the shape does not fit, or
/// where several entries that should be equal are not.
void match(Imatrix& imatrix, std::span<const gguf::TensorInfo> tensors);

/// Imatrix::load() and match().
Imatrix load_for(const std::string& path, std::span<const gguf::TensorInfo> tensors);

}  // namespace steelyard::imatrix
