#include "compute/cpu/kernels.h"

#include <array>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace steelyard::cpu {

namespace scalar { extern const Kernels kKernels; }
namespace avx2 { extern const Kernels kKernels; }
namespace avx512 { extern const Kernels kKernels; }

namespace {

struct Candidate {
  const Kernels* kernels;
  bool supported;
};

// Widest first.
std::array<Candidate, 3> candidates() {
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return {{{&avx512::kKernels, has_avx512}, {&avx2::kKernels, has_avx2}, {&scalar::kKernels, true}}};
}

const Kernels& choose() {
  const char* forced = std::getenv("STEELYARD_ISA");
  for (const auto& [kernels, supported] : candidates()) {
    if (forced == nullptr ? supported : std::string_view(forced) == kernels->isa) {
      if (!supported) fail("STEELYARD_ISA", "this processor has no {}", forced);
      return *kernels;
    }
  }
  fail("STEELYARD_ISA", "unknown instruction set \"{}\" (known: scalar, avx2, avx512)", printable(forced));
}

}  // namespace

const Kernels* supported_kernels(int i) {
  for (const auto& [kernels, supported] : candidates()) {
    if (supported && i-- == 0) return kernels;
  }
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace steelyard::cpu
