// A weight of a checkpoint, in whichever coding it was published: plain values, or codes with scales beside them
// (docs/huggingface.md). All that a recipe needs is its values, by their number in the order of the checkpoint, and
// the type of GGUF that holds them as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/format.h"
#include "huggingface/checkpoint.h"

namespace steelyard::huggingface {

class StoredWeight {
 public:
  virtual ~StoredWeight() = default;
  StoredWeight(const StoredWeight&) = delete;
  StoredWeight& operator=(const StoredWeight&) = delete;

  const std::string& name() const { return name_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  /// GGUF's type for its values, or the nearest one: BF16 for FP8, of which no type of GGUF has both codes and scales.
  formats::Type type() const { return type_; }
  /// Bytes in the checkpoint, scales included.
  uint64_t stored_bytes() const { return stored_bytes_; }
  /// The tensor with its values or codes: says in which file they are.
  const StoredTensor& tensor() const { return *tensor_; }

  /// Values first, first + step, ...: n of them, exact. Thread-safe.
  virtual void decode(int64_t first, int64_t step, int64_t n, float* out) const = 0;
  /// Values first to first + n in type(), bit for bit what is stored; whole blocks. Thread-safe.
  virtual void copy(int64_t first, int64_t n, std::byte* out) const;
  /// Values as they are in the file, in type(); null where they are coded otherwise.
  virtual const std::byte* values() const { return nullptr; }
  /// A factor of all values that type() cannot hold; 1: none.
  virtual float factor() const { return 1; }
  virtual bool has_factor() const { return false; }

 protected:
  StoredWeight(std::string name, const StoredTensor& tensor, std::vector<int64_t> shape, formats::Type type,
               uint64_t stored_bytes)
      : name_(std::move(name)), tensor_(&tensor), shape_(std::move(shape)), type_(type), stored_bytes_(stored_bytes) {}

 private:
  std::string name_;
  const StoredTensor* tensor_;
  std::vector<int64_t> shape_;
  formats::Type type_;
  uint64_t stored_bytes_;
};

/// What the configuration says about codings.
struct CodingSizes {
  int64_t block_rows = 128, block_columns = 128;  ///< of FP8
};

/// All weights of a checkpoint that are not scales of others, in its order. Error naming the tensor: scales that do not
/// fit their codes, codings that are not known. `with_data`: false where only types and shapes are wanted.
std::vector<std::unique_ptr<StoredWeight>> find_weights(const Checkpoint& checkpoint, const CodingSizes& sizes,
                                                        bool with_data);

}  // namespace steelyard::huggingface
