#include "cuda_emulator/ptx/values.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "cuda_emulator/arithmetic.h"
#include "cuda_emulator/half.h"

namespace steelyard::cuda_emulator::ptx {
namespace {

int bits_of_type(Type type) { return 8 * size_of(type); }

float as_float(uint64_t value) { return std::bit_cast<float>(uint32_t(value)); }

// What float and double do alike.
template <class Float>
Float operation(Opcode op, Float a, Float b) {
  switch (op) {
    case op_mul:
      return a * b;
    case op_div:
      return a / b;
    case op_min:
      return std::fmin(a, b);
    case op_max:
      return std::fmax(a, b);
    case op_neg:
      return -a;
    case op_abs:
      return std::fabs(a);
    case op_rcp:
      return 1 / a;
    case op_sqrt:
      return std::sqrt(a);
    case op_ex2:
      return std::exp2(a);
    case op_tanh:
      return std::tanh(a);
    case op_copysign:
      return std::copysign(b, a);
    default:
      fail("an operation that this float type does not have");
  }
}

float float32_operation(Opcode op, float a, float b, float c) {
  switch (op) {
    case op_add:
      return a + b;
    case op_sub:
      return a - b;
    case op_fma:
    case op_mad:
      return std::fma(a, b, c);
    case op_rsqrt:
      return rsqrtf(a);
    case op_lg2:
      return std::log2(a);
    case op_sin:
      return std::sin(a);
    case op_cos:
      return std::cos(a);
    default:
      return operation(op, a, b);
  }
}

// In double; for shorter types the caller rounds.
double double_operation(Opcode op, bool exact, double a, double b, double c) {
  switch (op) {
    case op_add:
      return exact ? a + b : fma_to_odd(1.0, a, b);
    case op_sub:
      return exact ? a - b : fma_to_odd(1.0, a, -b);
    case op_fma:
    case op_mad:
      return exact ? std::fma(a, b, c) : fma_to_odd(a, b, c);
    case op_rsqrt:
      return 1 / std::sqrt(a);
    default:
      return operation(op, a, b);
  }
}

uint64_t high_product(Type type, uint64_t a, uint64_t b) {
  if (is_signed(type)) return uint64_t((static_cast<__int128>(int64_t(a)) * int64_t(b)) >> bits_of_type(type));
  return uint64_t((static_cast<unsigned __int128>(a) * b) >> bits_of_type(type));
}

// Truncated to the range of an integer type, as conversions saturate.
uint64_t saturate(double value, Type type) {
  if (std::isnan(value)) return 0;
  const int bits = bits_of_type(type);
  const double limit = std::ldexp(1.0, is_signed(type) ? bits - 1 : bits);
  if (!is_signed(type)) return value < 0 ? 0 : value >= limit ? narrow(~uint64_t(0), type) : uint64_t(value);
  const uint64_t top = uint64_t(1) << (bits - 1);
  return narrow(value >= limit ? top - 1 : value < -limit ? top : uint64_t(int64_t(value)), type);
}

double rounded(double value, Rounding rounding) {
  switch (rounding) {
    case Rounding::kNearest:
      return std::nearbyint(value);
    case Rounding::kDown:
      return std::floor(value);
    case Rounding::kUp:
      return std::ceil(value);
    case Rounding::kZero:
      return std::trunc(value);
    case Rounding::kNone:
      return value;
  }
  __builtin_trap();
}

}  // namespace

uint64_t narrow(uint64_t value, Type type) {
  return size_of(type) == 8 ? value : value & ((uint64_t(1) << bits_of_type(type)) - 1);
}

uint64_t extend(uint64_t value, Type type) {
  const int unused = 64 - bits_of_type(type);
  return is_signed(type) ? uint64_t(int64_t(value << unused) >> unused) : narrow(value, type);
}

double to_double(uint64_t value, Type type) {
  switch (type) {
    case kF32:
      return as_float(value);
    case kF64:
      return std::bit_cast<double>(value);
    case kF16:
      return half_to_float(uint16_t(value));
    case kBF16:
      return bf16_to_float(uint16_t(value));
    default:
      return is_signed(type) ? double(int64_t(extend(value, type))) : double(narrow(value, type));
  }
}

uint64_t from_double(double value, Type type) {
  switch (type) {
    case kF32:
      return std::bit_cast<uint32_t>(float(value));
    case kF64:
      return std::bit_cast<uint64_t>(value);
    case kF16:
      return double_to_half(value);
    case kBF16:
      return double_to_bf16(value);
    default:
      fail("conversion to a type that is no float");
  }
}

uint64_t float_operation(Opcode op, Type type, uint64_t a, uint64_t b, uint64_t c) {
  if (type == kF16x2 || type == kBF16x2) {
    const Type each = type == kF16x2 ? kF16 : kBF16;
    return float_operation(op, each, a & 0xFFFF, b & 0xFFFF, c & 0xFFFF) |
           float_operation(op, each, a >> 16 & 0xFFFF, b >> 16 & 0xFFFF, c >> 16 & 0xFFFF) << 16;
  }
  if (type == kF32) return std::bit_cast<uint32_t>(float32_operation(op, as_float(a), as_float(b), as_float(c)));
  const bool exact = type == kF64;
  return from_double(double_operation(op, exact, to_double(a, type), to_double(b, type), to_double(c, type)), type);
}

uint64_t integer_operation(Opcode op, Type type, Wide wide, uint64_t a, uint64_t b, uint64_t c) {
  const bool sign = is_signed(type);
  const int bits = bits_of_type(type);
  const uint64_t x = extend(a, type), y = extend(b, type);
  switch (op) {
    case op_add:
      return narrow(x + y, type);
    case op_sub:
      return narrow(x - y, type);
    case op_mul:
    case op_mad: {
      const uint64_t product = wide == Wide::kHigh ? high_product(type, x, y) : x * y;
      const uint64_t sum = op == op_mad ? product + c : product;
      return wide == Wide::kWide ? narrow(sum, bits == 16 ? kU32 : kU64) : narrow(sum, type);
    }
    case op_div:
      if (y == 0) return narrow(~uint64_t(0), type);
      return narrow(sign ? (int64_t(y) == -1 ? 0 - x : uint64_t(int64_t(x) / int64_t(y))) : x / y, type);
    case op_rem:
      if (y == 0) return narrow(x, type);
      return narrow(sign ? (int64_t(y) == -1 ? 0 : uint64_t(int64_t(x) % int64_t(y))) : x % y, type);
    case op_min:
      return narrow(sign ? uint64_t(std::min(int64_t(x), int64_t(y))) : std::min(x, y), type);
    case op_max:
      return narrow(sign ? uint64_t(std::max(int64_t(x), int64_t(y))) : std::max(x, y), type);
    case op_neg:
      return narrow(0 - x, type);
    case op_abs:
      return narrow(int64_t(x) < 0 ? 0 - x : x, type);
    case op_and:
      return a & b;
    case op_or:
      return a | b;
    case op_xor:
      return a ^ b;
    case op_not:
      return type == kPred ? !(a & 1) : narrow(~a, type);
    case op_shl:
      return uint32_t(b) >= uint32_t(bits) ? 0 : narrow(a << uint32_t(b), type);
    case op_shr: {
      const uint32_t n = std::min(uint32_t(b), uint32_t(bits));
      return narrow(sign ? uint64_t(int64_t(x) >> std::min(n, 63u)) : n == 64 ? 0 : x >> n, type);
    }
    default:
      fail("an operation that integers do not have");
  }
}

uint64_t integer_operation(const Instruction& i, uint64_t a, uint64_t b, uint64_t c) {
  return integer_operation(i.op, i.type, i.wide, a, b, c);
}

uint64_t convert(const Instruction& i, uint64_t value) {
  const Type to = i.type, from = i.type2;
  const uint64_t x = extend(value, from);
  if (!is_float(to) && !is_float(from)) {
    return i.saturate ? saturate(is_signed(from) ? double(int64_t(x)) : double(x), to) : narrow(x, to);
  }
  if (!is_float(from)) {
    if (to == kF32) return std::bit_cast<uint32_t>(is_signed(from) ? float(int64_t(x)) : float(x));
    return from_double(is_signed(from) ? double(int64_t(x)) : double(x), to);
  }
  const double number = to_double(value, from);
  if (!is_float(to)) return saturate(rounded(number, i.rounding == Rounding::kNone ? Rounding::kZero : i.rounding), to);
  double out = rounded(number, i.rounding);
  if (i.saturate) out = std::isnan(out) ? 0 : std::clamp(out, 0.0, 1.0);
  return from_double(i.has("relu") && out < 0 ? 0 : out, to);
}

namespace {

template <class T>
bool compare_values(Comparison comparison, T a, T b) {
  switch (comparison) {
    case kEq:
    case kEqu:
      return a == b;
    case kNe:
    case kNeu:
      return a != b;
    case kLt:
    case kLtu:
      return a < b;
    case kLe:
    case kLeu:
      return a <= b;
    case kGt:
    case kGtu:
      return a > b;
    case kGe:
    case kGeu:
      return a >= b;
    case kNum:
      return true;
    case kNan:
      return false;
  }
  __builtin_trap();
}

}  // namespace

bool compare(Comparison comparison, Type type, uint64_t a, uint64_t b) {
  if (is_float(type)) {
    const double x = to_double(a, type), y = to_double(b, type);
    if (std::isnan(x) || std::isnan(y)) return comparison >= kEqu && comparison != kNum;
    return compare_values(comparison, x, y);
  }
  const uint64_t x = extend(a, type), y = extend(b, type);
  if (is_signed(type)) return compare_values(comparison, int64_t(x), int64_t(y));
  return compare_values(comparison, x, y);
}

}  // namespace steelyard::cuda_emulator::ptx
