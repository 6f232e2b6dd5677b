// What differs between two GGUF files: metadata, tensors, and how far the weights of one are from those of the other.
//
// Tensors are decoded a few thousand values at a time, so memory does not grow with their size. The sums do not depend
// on the number of threads. Called by inspect.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gguf/source.h"

namespace steelyard::quantize {

/// A key whose value differs; null where it is missing.
struct MetadataDifference {
  const gguf::KeyValue* a = nullptr;
  const gguf::KeyValue* b = nullptr;

  const std::string& key() const { return a != nullptr ? a->key : b->key; }
};

/// In the order of `a`, then the keys that only `b` has. Views into both.
std::vector<MetadataDifference> compare(const gguf::Metadata& a, const gguf::Metadata& b);

/// Sums over the weights a and b of a tensor, from which errors follow. Pairs with a non-finite weight are only
/// counted.
struct ErrorSums {
  double aa = 0, bb = 0, ab = 0;  ///< sum of a², b², a·b
  double dd = 0;                  ///< sum of (a - b)²
  double max_abs = 0;             ///< largest |a - b|
  int64_t not_finite = 0;

  void add(const ErrorSums& other);
  /// ‖a - b‖ / ‖a‖; 0 where nothing differs, infinite where only a is zero.
  double relative_rmse() const;
  /// a·b / (‖a‖ ‖b‖); 1 where both are zero, 0 where one is.
  double cosine() const;
};

enum class Comparison {
  kOnlyA,
  kOnlyB,
  kShape,    ///< other shapes: nothing to compare
  kBytes,    ///< integers: bytes compared, no error
  kWeights,  ///< `error` is there
};

/// One tensor of either file.
struct TensorDifference {
  Comparison comparison;
  const gguf::TensorInfo* a = nullptr;
  const gguf::TensorInfo* b = nullptr;
  bool same_bytes = false;  ///< type, shape and bytes are the same
  ErrorSums error;

  const std::string& name() const { return a != nullptr ? a->name : b->name; }
};

/// In the order of `a`, then the tensors that only `b` has. `progress` is called after each tensor with the number done
/// and the total.
std::vector<TensorDifference> compare(const gguf::Source& a, const gguf::Source& b,
                                      const std::function<void(size_t done, size_t count)>& progress);

}  // namespace steelyard::quantize
