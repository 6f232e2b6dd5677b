// Values in registers, 64 bits each whatever the type, and the arithmetic of PTX on them. Private to the interpreter.
#pragma once

#include <cstdint>

#include "cuda_emulator/ptx/program.h"

namespace steelyard::cuda_emulator::ptx {

/// The low bits of a type, sign-extended for signed ones.
uint64_t extend(uint64_t value, Type type);
/// The low bits of a type.
uint64_t narrow(uint64_t value, Type type);

double to_double(uint64_t value, Type type);
/// Rounded once to nearest.
uint64_t from_double(double value, Type type);

/// Two operands, or three; of a float or pair of half floats.
uint64_t float_operation(Opcode op, Type type, uint64_t a, uint64_t b, uint64_t c);
uint64_t integer_operation(const Instruction& instruction, uint64_t a, uint64_t b, uint64_t c);
uint64_t integer_operation(Opcode op, Type type, Wide wide, uint64_t a, uint64_t b, uint64_t c);
uint64_t convert(const Instruction& instruction, uint64_t value);
bool compare(Comparison comparison, Type type, uint64_t a, uint64_t b);

}  // namespace steelyard::cuda_emulator::ptx
