#include "formats/iq2_xxs.h"

namespace steelyard {

constinit const Format kIQ2_XXSFormat = make_format<IQ2_XXS>();

}  // namespace steelyard
