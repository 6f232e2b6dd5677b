#include "compute/cpu/kernels.h"

namespace steelyard::cpu {

namespace scalar {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}

const Kernels& kernels(Isa isa) {
  static constexpr const Kernels* kSets[kIsaCount] = {&scalar::kKernels, &avx2::kKernels, &avx512::kKernels};
  return *kSets[static_cast<int>(isa)];
}

}  // namespace steelyard::cpu
