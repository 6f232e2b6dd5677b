#include "compute/cpu/byte_panels.h"

namespace steelyard::cpu {

// byte_panels.simd.cc, once per target.
#define TARGET(enumerator, name, ...)  \
  namespace name {                     \
  extern const BytePanels kBytePanels; \
  }
#include "simd/targets.def"
#undef TARGET

const BytePanels& byte_panels(simd::Target target) {
  static constexpr simd::PerTarget<BytePanels> kTables({
#define TARGET(enumerator, name, ...) &name::kBytePanels,
#include "simd/targets.def"
#undef TARGET
  });
  return kTables[target];
}

}  // namespace steelyard::cpu
