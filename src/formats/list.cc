// The Format objects of all types, in the order of formats.def, as compiled for one target.
#include <array>

#include "formats/codec.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

extern constinit const std::array kFormats = {
#define FORMAT(name, id) &k##name##Format,
#include "formats/formats.def"
#undef FORMAT
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET
