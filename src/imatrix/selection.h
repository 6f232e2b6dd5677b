// Chooses entries of an importance matrix, and renames them for an edited model. For quantize.
#pragma once

#include <span>
#include <string>

#include "imatrix/imatrix.h"

namespace steelyard::imatrix {

/// Keeps the entries whose name contains one of `include` (all, if that is empty) and none of `exclude`. Error when one
/// of the texts occurs in no name, or nothing is left.
void select_entries(Imatrix& imatrix, std::span<const std::string> include, std::span<const std::string> exclude);

/// The old and the new name of an entry.
struct EntryName {
  std::string from;
  std::string to;
};

/// Keeps the entries that `names` mentions, each under its new name. New names are unique.
void rename_entries(Imatrix& imatrix, std::span<const EntryName> names);

}  // namespace steelyard::imatrix
