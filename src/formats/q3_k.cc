#include "formats/q3_k.h"

namespace steelyard {

constinit const Format kQ3_KFormat = make_format<Q3_K>();

}  // namespace steelyard
