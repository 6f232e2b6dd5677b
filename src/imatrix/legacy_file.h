// The .dat layout of an importance matrix (docs/imatrix.md). Called by Imatrix::load and Imatrix::save only, which
// check the values.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// The layout has no magic number: bytes that do not parse to their very end are an Error. `path` is for messages.
/// Every entry becomes one row, with n_in * n_expert columns and a count of ncall chunks of 512 tokens.
Imatrix parse_legacy_imatrix(std::span<const std::byte> bytes, const std::string& path);

/// Keeps importance, not counts, and only the last of several datasets. Writes what parse_legacy_imatrix read with the
/// same bytes again, if its entries were sorted by name.
void save_legacy_imatrix(const Imatrix& imatrix, const std::string& path);

}  // namespace steelyard::imatrix
