#include "formats/q5_k.h"

namespace steelyard {

constinit const Format kQ5_KFormat = make_format<Q5_K>();

}  // namespace steelyard
