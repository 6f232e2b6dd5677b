// Resolutions as text for people. Called by the tools.
#pragma once

#include <string>

#include "plan/resolve.h"

namespace steelyard {

/// One line per tensor: name, shape, source type, type ("Q5_0 <- Q4_K fallback"), bytes, and the rule or the reason. In
/// the order of the decisions.
std::string table(const Resolution& resolution);

/// Tensors, elements, bytes and share per type, then the totals in bytes, GiB and bits per weight.
std::string summary(const Resolution& resolution);

}  // namespace steelyard
