#include "compute/cpu/kernels.h"

namespace steelyard::cpu {

// kernels.simd.cc, once per target.
#define TARGET(enumerator, name, ...) \
  namespace name {                    \
  extern const Kernels kKernels;      \
  }
#include "simd/targets.def"
#undef TARGET

const Kernels& kernels(simd::Target target) {
  static constexpr simd::PerTarget<Kernels> kTables({
#define TARGET(enumerator, name, ...) &name::kKernels,
#include "simd/targets.def"
#undef TARGET
  });
  return kTables[target];
}

}  // namespace steelyard::cpu
