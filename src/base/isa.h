// Which instruction set the code compiled per set (cmake/isa.cmake) runs with.
//
// Every set gives the same bytes; only speed differs. Asked once by each table of such code: the formats, the kernels
// of the CPU backend.
#pragma once

#include <span>
#include <string_view>

namespace steelyard {

/// "scalar" is the baseline of the compiler's target, SSE2 on x86-64.
enum class Isa { kScalar, kAvx2, kAvx512 };
inline constexpr int kIsaCount = 3;

std::string_view isa_name(Isa isa);

/// The sets that this processor has, the widest first; kScalar is always among them.
std::span<const Isa> supported_isas();

/// The widest set of this processor, or the one named by the environment variable STEELYARD_ISA (scalar, avx2, avx512).
/// Error when that one is unknown or the processor lacks it. Chosen once.
Isa chosen_isa();

}  // namespace steelyard
