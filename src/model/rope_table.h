// Cosines and sines of rotary position embedding for a run of positions, in backend memory.
#pragma once

#include <cstdint>
#include <span>

#include "compute/backend.h"
#include "model/config.h"

namespace steelyard::model {

struct RopeTable {
  Buffer memory;
  const float* cos = nullptr;  ///< [n_positions, n_dims / 2], magnitude included
  const float* sin = nullptr;  ///< [n_positions, n_dims / 2]
};

/// Angles of pair i at position p: p * base^(-2i / n_dims), divided by freq_factors[i] if given (rope_freqs.weight,
/// longrope's factors), then scaled: linear and longrope divide by the factor; YaRN blends between that and the
/// unscaled angle by wavelength (Peng et al. 2023, "YaRN", section 3.2, beta_fast 32, beta_slow 1). freq_factors:
/// [n_dims / 2] or empty. With sections, pairs that belong to no position of a text stand still.
RopeTable make_rope_table(Backend& backend, const RopeConfig& rope, std::span<const float> freq_factors,
                          int64_t n_positions);

}  // namespace steelyard::model
