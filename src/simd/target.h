// Which target of targets.def is used for the code that is compiled per target.
//
// Encoders give the same bytes with every target; only speed differs. Asked once by each table of such code: the
// formats, the kernels of the CPU backend.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace steelyard::simd {

/// Every target of this architecture. "scalar" is the baseline of the compiler's target.
enum class Target {
#define TARGET(enumerator, ...) enumerator,
#include "simd/targets.def"
#undef TARGET
};

#define TARGET(...) +1
inline constexpr int kTargetCount = 0
#include "simd/targets.def"
    ;
#undef TARGET

std::string_view target_name(Target target);

/// The target whose encoders `target` runs; itself for most.
Target encoder_target(Target target);

/// The targets that this processor has, the widest first; kScalar is always among them.
std::span<const Target> supported_targets();

/// The widest target of this processor, or the one named by the environment variable STEELYARD_ISA. Error when that one
/// is unknown or the processor does not support it. Chosen once.
Target chosen_target();

/// One T per target, in the order of the enumeration.
template <class T>
class PerTarget {
 public:
  constexpr explicit PerTarget(const std::array<const T*, kTargetCount>& each) : each_(each) {}
  constexpr const T& operator[](Target target) const { return *each_[static_cast<size_t>(target)]; }

 private:
  std::array<const T*, kTargetCount> each_;
};

}  // namespace steelyard::simd
