// Speed over context as a picture: prompt and decoding, each a curve over the length of the context.
#pragma once

#include <span>
#include <string>

#include "measure/speed.h"

namespace steelyard::measure {

/// An SVG document. `title` and `subtitle` are any text. At least one speed; the contexts rise.
std::string speed_plot(std::span<const ContextSpeed> speeds, const std::string& title, const std::string& subtitle);

}  // namespace steelyard::measure
