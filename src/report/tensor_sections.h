// The parts of a search's page that are about tensors: the heat maps of layers and kinds, and sums by group.
#pragma once

#include <string>

#include "report/search_page.h"

namespace steelyard::report {

/// What each tensor of the layers gets, and what that loses.
std::string tensor_map_section(const SearchPage& data);

/// Bytes and losses by group, as bars and numbers.
std::string group_section(const SearchPage& data);

}  // namespace steelyard::report
