#include "base/isa.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/error.h"

namespace steelyard {
namespace {

constexpr Isa kWidestFirst[] = {Isa::kAvx512, Isa::kAvx2, Isa::kScalar};

bool is_supported(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    case Isa::kAvx512:
      return is_supported(Isa::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  return false;
}

Isa choose() {
  const char* forced = std::getenv("STEELYARD_ISA");
  if (forced == nullptr) return supported_isas().front();
  for (const Isa isa : kWidestFirst) {
    if (isa_name(isa) != forced) continue;
    if (!is_supported(isa)) fail("STEELYARD_ISA", "this processor has no {}", forced);
    return isa;
  }
  fail("STEELYARD_ISA", "unknown instruction set \"{}\" (known: scalar, avx2, avx512)", printable(forced));
}

}  // namespace

std::string_view isa_name(Isa isa) {
  constexpr std::string_view kNames[kIsaCount] = {"scalar", "avx2", "avx512"};
  return kNames[static_cast<int>(isa)];
}

std::span<const Isa> supported_isas() {
  static const std::vector<Isa> kSupported = [] {
    std::vector<Isa> sets;
    std::ranges::copy_if(kWidestFirst, std::back_inserter(sets), is_supported);
    return sets;
  }();
  return kSupported;
}

Isa chosen_isa() {
  static const Isa kChosen = choose();
  return kChosen;
}

}  // namespace steelyard
