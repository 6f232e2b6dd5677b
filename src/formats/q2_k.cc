#include "formats/q2_k.h"

namespace steelyard {

constinit const Format kQ2_KFormat = make_format<Q2_K>();

}  // namespace steelyard
