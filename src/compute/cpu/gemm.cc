#include "compute/cpu/gemm.h"

namespace steelyard::cpu {

// gemm.simd.cc, once per target.
#define TARGET(enumerator, name, ...) \
  namespace name {                    \
  extern const Gemm kGemm;            \
  }
#include "simd/targets.def"
#undef TARGET

const Gemm& gemm(simd::Target target) {
  static constexpr simd::PerTarget<Gemm> kTables({
#define TARGET(enumerator, name, ...) &name::kGemm,
#include "simd/targets.def"
#undef TARGET
  });
  return kTables[target];
}

}  // namespace steelyard::cpu
