// The types of GGUF that have the codes and scales in which models are published, in another order. Used by whoever
// repacks them (huggingface/codings.cc).
#pragma once

#include "formats/format.h"

namespace steelyard::formats {

/// Codings of publishers.
enum class Published {
  kMxfp4,  ///< of OCP: E2M1 floats, a power of two for each 32
  kNvfp4,  ///< E2M1 floats, an E4M3 scale for each 16, and a factor of all that no block has
  kInt4,   ///< integers of 4 bits less 8, a scale for each 32 or more
};

inline Type type_of(Published coding) {
  if (coding == Published::kMxfp4) return Type::MXFP4;
  return coding == Published::kNvfp4 ? Type::NVFP4 : Type::Q4_0;
}

}  // namespace steelyard::formats
