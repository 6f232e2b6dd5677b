#include "compute/cpu/gemm.h"

namespace steelyard::cpu {

namespace scalar {
extern const Gemm kGemm;
}
namespace avx2 {
extern const Gemm kGemm;
}
namespace avx512 {
extern const Gemm kGemm;
}

const Gemm& gemm(Isa isa) {
  static constexpr const Gemm* kSets[kIsaCount] = {&scalar::kGemm, &avx2::kGemm, &avx512::kGemm};
  return *kSets[static_cast<int>(isa)];
}

}  // namespace steelyard::cpu
