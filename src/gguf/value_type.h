// Which type of C++ a ValueType stands for: the one switch over the types of numbers. Called by what reads and writes
// metadata values.
#pragma once

#include <cstdint>

#include "gguf/metadata.h"

namespace steelyard::gguf {

/// visit.operator()<T>() for a number of type T, where a bool in a file is a byte of any value; `otherwise` for
/// strings, arrays and ids that are no type.
template <class Visit, class Result>
Result visit_number(ValueType type, const Visit& visit, const Result& otherwise) {
  switch (type) {
    case ValueType::kUint8:
      return visit.template operator()<uint8_t>();
    case ValueType::kInt8:
      return visit.template operator()<int8_t>();
    case ValueType::kUint16:
      return visit.template operator()<uint16_t>();
    case ValueType::kInt16:
      return visit.template operator()<int16_t>();
    case ValueType::kUint32:
      return visit.template operator()<uint32_t>();
    case ValueType::kInt32:
      return visit.template operator()<int32_t>();
    case ValueType::kFloat32:
      return visit.template operator()<float>();
    case ValueType::kBool:
      return visit.template operator()<bool>();
    case ValueType::kUint64:
      return visit.template operator()<uint64_t>();
    case ValueType::kInt64:
      return visit.template operator()<int64_t>();
    case ValueType::kFloat64:
      return visit.template operator()<double>();
    default:
      return otherwise;
  }
}

}  // namespace steelyard::gguf
