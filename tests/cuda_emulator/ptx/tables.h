// Names of PTX: special registers, and what an instruction's name says. Private to the interpreter.
#pragma once

#include <string>

#include "cuda_emulator/ptx/program.h"

namespace steelyard::cuda_emulator::ptx {

/// Of a register such as "%tid.x"; -1 where it is none.
int find_special(const std::string& name);

/// Fills opcode, types and modifiers from a dotted name; returns why it cannot, or nothing.
std::string decode(const std::string& name, Instruction& instruction);

/// Values of Instruction::variant.
enum Mma { kMma16Bf16, kMma16Half, kMma8Bf16, kMma8Half, kMma32Int8, kMma16Int8 };
enum Atomic { kAdd, kMin, kMax, kAnd, kOr, kXor, kExch, kCas };
inline constexpr int kFunnelRight = 1, kFunnelClamp = 2;  // bits
inline constexpr int kTransposed = 16;                    // of ldmatrix, beside the number of matrices

}  // namespace steelyard::cuda_emulator::ptx
