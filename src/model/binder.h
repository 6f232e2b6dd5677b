// Finds tensors of a model by name, checks their shapes, and loads them into a backend. Or it only takes stock: it
// notes which tensors are asked for, and which of these are missing, and everything that it returns is empty of data.
// So the functions that bind a model (weights.cc) also say what a file lacks, from its header alone.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/text_hash.h"
#include "model/inventory.h"
#include "model/weights.h"

namespace steelyard::model {

/// The tensors of a header, and what was asked of them.
class Stock {
 public:
  explicit Stock(std::span<const gguf::TensorInfo> tensors);

  const gguf::TensorInfo* find(const std::string& name) const;
  /// The tensor is asked for with this shape.
  void ask(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne);
  /// The tensor need not be there, and says nothing that is not computed without it.
  void expect(const std::string& name) { known_.insert(name); }
  /// The same of all tensors that block i has.
  void expect_block(size_t i);
  /// Whether there is any tensor of block i.
  bool has_block(int64_t i) const { return blocks_.contains(i); }

  /// There is nothing of block i.
  void lacks_block(size_t i) { found_.missing.push_back(fmt::format("blk.{}.*", i)); }

  Inventory result() const;

 private:
  std::span<const gguf::TensorInfo> tensors_;
  std::unordered_map<std::string_view, const gguf::TensorInfo*, TextHash> by_name_;
  std::set<int64_t> blocks_;
  std::unordered_set<std::string, TextHash> known_;
  Inventory found_;
};

/// Optional tensors that are listed in `required` must exist.
class Binder {
 public:
  Binder(const gguf::Source& reader, Backend& backend, std::string prefix, std::span<const std::string> required = {},
         LoadedTensors* loaded = nullptr)
      : reader_(&reader), backend_(&backend), prefix_(std::move(prefix)), required_(required), loaded_(loaded) {}
  /// Takes stock.
  Binder(Stock& stock, std::string prefix, std::span<const std::string> required = {})
      : stock_(&stock), prefix_(std::move(prefix)), required_(required) {}

  bool has(const std::string& name) const { return look_up(prefix_ + name) != nullptr; }
  /// Rows of a tensor that may come in more than one shape; 0: there is none.
  int64_t n_rows(const std::string& name) const {
    const gguf::TensorInfo* const tensor = look_up(prefix_ + name);
    return tensor != nullptr ? tensor->ne[1] : 0;
  }

  /// A factor beside the weight (`<name>.scale`, one or one per slice, as NVFP4 files have it) is multiplied in: then
  /// the weight is F32.
  Weight weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const;
  /// The same, when a tensor called `<name>.scale` is not about this product alone.
  Weight unscaled_weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return weight(name, n_in, n_out, n_slices, /*scaled=*/false);
  }
  /// A tensor in the file's memory, whatever the backend.
  Weight weight_in_file(const std::string& name, int64_t n_in, int64_t n_out) const;
  /// n rows, from `begin` on, of a tensor [n_in, n_out]; always as the file has them.
  Weight rows_of_weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t begin, int64_t n) const;
  /// For tensors outside the block.
  Binder outside() const {
    Binder outside = *this;
    outside.prefix_.clear();
    outside.required_ = {};
    return outside;
  }
  Weight weight_if(bool wanted, const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return wanted ? weight(name, n_in, n_out, n_slices) : Weight{};
  }
  Weight optional_weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return weight_if(has(name) || is_required(name), name, n_in, n_out, n_slices);
  }

  /// Slices that the file may have as one matrix [n_in, n_out * n_slices]: then it is flat.
  Weight slices(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices, bool& flat) const;

  /// Integers [n, n_slices] in host memory. Error unless all are below `end`, and none is negative.
  std::vector<int32_t> indices(const std::string& name, int64_t n, int64_t n_slices, int64_t end) const;
  /// [n, n_slices], decoded, in host memory. Dimensions of 1 do not count: a file may have [1, n] for [n].
  std::vector<float> values(const std::string& name, int64_t n, int64_t n_slices = 1) const;
  Vector vector(const std::string& name, int64_t n, int64_t n_slices = 1) const;
  /// [n_slices, n] of a tensor [n, n_slices].
  Vector transposed(const std::string& name, int64_t n, int64_t n_slices) const;
  Vector vector_if(bool wanted, const std::string& name, int64_t n) const {
    return wanted ? vector(name, n) : Vector{};
  }
  Vector optional(const std::string& name, int64_t n, int64_t n_slices = 1) const;
  /// [n] times a factor.
  Vector scaled_vector(const std::string& name, int64_t n, float factor) const;
  /// Of n numbers, n rows of `width` columns in which each is repeated; none where there is no such tensor.
  Vector optional_rows(const std::string& name, int64_t n, int64_t width) const;
  /// Divisors of RoPE's frequencies: as values(). Error unless all are above 0.
  std::vector<float> rope_factors(const std::string& name, int64_t n) const;

  /// See Stock::expect.
  void expect(const std::string& name) const {
    if (stock_ != nullptr) stock_->expect(prefix_ + name);
  }

 private:
  Weight weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices, bool scaled) const;
  bool is_required(const std::string& name) const;
  const gguf::TensorInfo* look_up(const std::string& name) const;
  const gguf::TensorInfo& find(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne) const;
  /// The tensor's own shape where only dimensions of 1 are elsewhere than in `ne`, else `ne`.
  std::array<int64_t, gguf::kMaxDims> shape_in_file(const std::string& name,
                                                    const std::array<int64_t, gguf::kMaxDims>& ne) const;
  Vector uploaded(const std::vector<float>& host) const;
  Weight load(const gguf::TensorInfo& tensor, Weight from) const;
  /// Of a weight's slices; empty: there are none, or they are 1.
  std::vector<float> scales(const std::string& weight, int64_t n_slices) const;
  Weight multiplied(Weight from, std::span<const float> scales) const;

  const gguf::Source* reader_ = nullptr;
  Backend* backend_ = nullptr;
  Stock* stock_ = nullptr;  // null: tensors are bound
  std::string prefix_;
  std::span<const std::string> required_;
  LoadedTensors* loaded_ = nullptr;
};

}  // namespace steelyard::model
