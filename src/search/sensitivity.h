// What it costs to store tensors in one type or another: the input of allocate() and simplify(). Measured elsewhere;
// pure data here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "formats/format.h"

namespace steelyard::search {

/// One way to store the tensors of a group.
struct Candidate {
  formats::Type type;  ///< as the tensor really gets it: after the fallback
  uint64_t bytes = 0;  ///< of all tensors of the group
  double loss = 0;     ///< what they alone, in this type, add to the divergence at the end: nats per position, finite
};

/// Tensors that get one type together, or one position in the list of candidates where their shapes differ.
struct Group {
  std::vector<std::string> tensors;
  std::vector<Candidate> candidates;  ///< at least one, in any order
};

/// The positions of the candidates that are worth choosing, from few bytes to many: each has more bytes and less loss
/// than the one before it. Of equal candidates the type with the lowest number stays.
std::vector<size_t> undominated(const std::vector<Candidate>& candidates);

}  // namespace steelyard::search
