#include "gguf/source.h"

#include "base/checked.h"
#include "base/error.h"

namespace steelyard::gguf {

void Source::index_tensors() {
  by_name_.reserve(tensors_.size());
  int64_t n_elements = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorInfo& tensor = tensors_[i];
    const auto& where = shard_path(tensor.shard);
    if (!by_name_.emplace(tensor.name, i).second) {
      fail(where, "tensor '{}': found twice, expected once", printable(tensor.name));
    }
    const auto total = checked_add(total_bytes_, tensor.n_bytes);
    if (!total) fail(where, "tensor '{}': all tensors together exceed 2^64 bytes", printable(tensor.name));
    total_bytes_ = *total;
    // Whoever counts them need not think of it.
    if (__builtin_add_overflow(n_elements, tensor.n_elements(), &n_elements)) {
      fail(where, "tensor '{}': all tensors together exceed 2^63 values", printable(tensor.name));
    }
  }
}

const TensorInfo* Source::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace steelyard::gguf
