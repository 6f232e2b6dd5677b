// I8, I16, I32, I64: plain two's complement integers. They carry indices and tables, not weights, so they are stored
// and copied but never decoded.
//
//   bytes  0..size-1  value  integer
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

template <Type type, typename Integer>
struct IntegerFormat : PlainType {
  static constexpr Type kType = type;

  struct [[gnu::packed]] Block {
    Integer value;
  };
  static_assert(sizeof(Block) == sizeof(Integer));
};

using I8 = IntegerFormat<Type::I8, int8_t>;
using I16 = IntegerFormat<Type::I16, int16_t>;
using I32 = IntegerFormat<Type::I32, int32_t>;
using I64 = IntegerFormat<Type::I64, int64_t>;

}  // namespace steelyard::formats::inline STEELYARD_TARGET
