#include "formats/iq3_xxs.h"

namespace steelyard {

constinit const Format kIQ3_XXSFormat = make_format<IQ3_XXS>();

}  // namespace steelyard
