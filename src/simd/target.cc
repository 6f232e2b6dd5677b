#include "simd/target.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"

namespace steelyard::simd {
namespace {

constexpr std::string_view kNames[kTargetCount] = {
#define TARGET(enumerator, name, ...) #name,
#include "simd/targets.def"
#undef TARGET
};

#if defined(__x86_64__)
/// clang 14 cannot ask for it by name. The check for AVX2 also asks whether the system saves its registers.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool is_supported(Target target) {
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
#define HAS_F16C has_f16c()
  const bool supported[kTargetCount] = {
#define TARGET(enumerator, name, encoders, options, condition) condition,
#include "simd/targets.def"
#undef TARGET
  };
#undef HAS_F16C
#undef HAS
  return supported[static_cast<int>(target)];
}

Target choose() {
  const char* forced = std::getenv("STEELYARD_ISA");
  if (forced == nullptr) return supported_targets().front();
  std::string known;
  for (int t = 0; t < kTargetCount; ++t) {
    if (kNames[t] == forced) {
      if (!is_supported(static_cast<Target>(t))) fail("STEELYARD_ISA", "this processor has no {}", forced);
      return static_cast<Target>(t);
    }
    known += (known.empty() ? "" : ", ") + std::string(kNames[t]);
  }
  fail("STEELYARD_ISA", "unknown instruction set \"{}\" (known: {})", printable(forced), known);
}

}  // namespace

std::string_view target_name(Target target) { return kNames[static_cast<int>(target)]; }

Target encoder_target(Target target) {
  constexpr std::string_view kEncoders[kTargetCount] = {
#define TARGET(enumerator, name, encoders, ...) #encoders,
#include "simd/targets.def"
#undef TARGET
  };
  const auto* found = std::ranges::find(kNames, kEncoders[static_cast<int>(target)]);
  return static_cast<Target>(found - kNames);
}

std::span<const Target> supported_targets() {
  static const std::vector<Target> kSupported = [] {
    std::vector<Target> targets;
    for (int t = kTargetCount - 1; t >= 0; --t) {
      if (is_supported(static_cast<Target>(t))) targets.push_back(static_cast<Target>(t));
    }
    return targets;
  }();
  return kSupported;
}

Target chosen_target() {
  static const Target kChosen = choose();
  return kChosen;
}

}  // namespace steelyard::simd
