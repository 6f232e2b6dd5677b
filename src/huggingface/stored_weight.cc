// Which tensors of a checkpoint are weights, and which are scales of others. Names are those that the publishers' tools
// write: "_scale_inv" beside FP8 (DeepSeek), "_blocks" and "_scales" (gpt-oss), "_packed", "_scale" and "_shape"
// (compressed-tensors), "_scale" and "_scale_2" (ModelOpt).
#include "huggingface/stored_weight.h"

#include <unordered_set>

#include "base/error.h"
#include "base/text_hash.h"
#include "huggingface/codings.h"

namespace steelyard::huggingface {
namespace {

// What only belongs to the inputs of products, or is made anew by whoever runs the model.
constexpr std::string_view kUnused[] = {".input_scale",     ".input_global_scale",   ".k_scale",
                                        ".v_scale",         ".k_proj.output_scale",  ".v_proj.output_scale",
                                        "activation_scale", "input_zero_point",      ".rotary_emb.inv_freq",
                                        ".attention.bias",  ".attention.masked_bias"};

class Finder {
 public:
  Finder(const Checkpoint& checkpoint, const CodingSizes& sizes, bool with_data)
      : checkpoint_(checkpoint), sizes_(sizes), with_data_(with_data) {}

  std::vector<std::unique_ptr<StoredWeight>> weights() {
    std::vector<std::unique_ptr<StoredWeight>> weights;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (auto weight = coded(tensor)) {
        weights.push_back(std::move(weight));
        used_.insert(tensor.name);
      }
    }
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      if (!used_.contains(tensor.name) && !is_unused(tensor.name)) weights.push_back(make_plain(stored(tensor)));
    }
    return weights;
  }

 private:
  static bool is_unused(std::string_view name) {
    for (const std::string_view end : kUnused) {
      if (name.ends_with(end)) return true;
    }
    return false;
  }

  template <typename... Args>
  [[noreturn]] void reject(const StoredTensor& tensor, fmt::format_string<Args...> format, Args&&... args) const {
    fail(checkpoint_.path(tensor), "tensor '{}': {}", printable(tensor.name),
         fmt::format(format, std::forward<Args>(args)...));
  }

  Stored stored(const StoredTensor& tensor) const {
    return {&tensor, with_data_ ? checkpoint_.bytes(tensor).data() : nullptr};
  }

  // The tensor of this name, which is no weight of its own; null if there is none.
  const StoredTensor* take(const std::string& name) {
    const StoredTensor* const tensor = checkpoint_.find(name);
    if (tensor != nullptr) used_.insert(name);
    return tensor;
  }

  const StoredTensor& required(const StoredTensor& of, const std::string& name) {
    const StoredTensor* const tensor = take(name);
    if (tensor == nullptr) reject(of, "found no {} beside it", printable(name));
    return *tensor;
  }

  // Null for a tensor without codes.
  std::unique_ptr<StoredWeight> coded(const StoredTensor& tensor) {
    const std::string& name = tensor.name;
    const auto without = [&](std::string_view end) { return name.substr(0, name.size() - end.size()); };
    if (name.ends_with("_blocks") && checkpoint_.find(without("_blocks") + "_scales") != nullptr)
      return blocks_of_32(tensor, without("_blocks"));
    if (name.ends_with("_packed") && checkpoint_.find(without("_packed") + "_scale") != nullptr)
      return packed(tensor, without("_packed"));
    if (tensor.dtype == Dtype::kF8E4M3 && !is_scale(name)) return fp8(tensor);
    if (tensor.dtype == Dtype::kU8 && name.ends_with(".weight") && checkpoint_.find(name + "_scale") != nullptr)
      return fp4(tensor, name, required(tensor, name + "_scale"), required(tensor, name + "_scale_2"), false);
    return nullptr;
  }

  static bool is_scale(std::string_view name) { return name.find("_scale") != std::string_view::npos; }

  // gpt-oss: codes [.., n_blocks, 16], exponents [.., n_blocks].
  std::unique_ptr<StoredWeight> blocks_of_32(const StoredTensor& codes, const std::string& name) {
    const StoredTensor& exponents = required(codes, name + "_scales");
    std::vector<int64_t> shape = codes.shape;
    if (codes.dtype != Dtype::kU8 || exponents.dtype != Dtype::kU8 || shape.size() < 2 || shape.back() != 16)
      reject(codes, "found {} of {}, expected blocks of 16 bytes", shape_string(shape), huggingface::name(codes.dtype));
    shape.pop_back();
    expect_shape(exponents, shape);
    shape.back() *= 32;
    return make_mxfp4(name, stored(codes), stored(exponents), shape);
  }

  std::unique_ptr<StoredWeight> packed(const StoredTensor& codes, const std::string& name) {
    const StoredTensor& scales = required(codes, name + "_scale");
    if (codes.dtype == Dtype::kU8 && scales.dtype == Dtype::kF8E4M3)
      return fp4(codes, name, scales, required(codes, name + "_global_scale"), true);
    if (codes.shape.size() != 2 || scales.shape.size() != 2 || codes.shape[0] != scales.shape[0])
      reject(codes, "found {} with scales {}, expected matrices of as many rows", shape_string(codes.shape),
             shape_string(scales.shape));
    if (codes.dtype == Dtype::kU8 && (scales.dtype == Dtype::kU8 || scales.dtype == Dtype::kF8E8M0)) {
      const std::vector<int64_t> shape = {codes.shape[0], codes.shape[1] * 2};
      expect_shape(scales, {shape[0], shape[1] / 32});
      return make_mxfp4(name, stored(codes), stored(scales), shape);
    }
    if (checkpoint_.find(name + "_zero_point") != nullptr)
      reject(codes, "found zero points beside it: only symmetric integers are read");
    take(name + "_shape");
    take(name + "_g_idx");
    const int64_t n_in = codes.shape[1] * 8, n_groups = scales.shape[1];
    if (codes.dtype != Dtype::kI32 || n_groups == 0 || n_in % n_groups != 0 || n_in / n_groups > INT32_MAX)
      reject(codes, "found {} of {} with scales {}, expected integers of 4 bits in equal groups",
             shape_string(codes.shape), huggingface::name(codes.dtype), shape_string(scales.shape));
    return make_int4(name, stored(codes), stored(scales), n_in, n_in / n_groups);
  }

  std::unique_ptr<StoredWeight> fp4(const StoredTensor& codes, const std::string& name, const StoredTensor& scales,
                                    const StoredTensor& factor, bool reciprocal) {
    std::vector<int64_t> shape = codes.shape;
    if (shape.empty() || shape.back() % 32 != 0 || factor.n_values() != 1)
      reject(codes, "found {}, expected rows of blocks of 64 codes and one factor", shape_string(shape));
    shape.back() *= 2;
    std::vector<int64_t> of_scales = shape;
    of_scales.back() /= 16;
    expect_shape(scales, of_scales);
    const float stored_factor = with_data_ ? stored(factor).value(0) : 1;
    return make_nvfp4(name, stored(codes), stored(scales), shape, reciprocal ? 1 / stored_factor : stored_factor);
  }

  std::unique_ptr<StoredWeight> fp8(const StoredTensor& codes) {
    const StoredTensor* scales = take(codes.name + "_scale_inv");
    if (scales == nullptr) scales = take(codes.name + "_scale");
    if (scales == nullptr) return nullptr;  // values as they are
    const std::vector<int64_t>& shape = codes.shape;
    if (shape.empty() || codes.n_values() == 0) reject(codes, "found {}, expected a matrix", shape_string(shape));
    const int64_t n_in = shape.back(), n_out = shape.size() > 1 ? shape[shape.size() - 2] : 1;
    if (scales->n_values() == 1 && shape.size() <= 2) return make_fp8(stored(codes), stored(*scales), n_out, n_in);
    const int64_t n_rows = codes.n_values() / n_in;
    if (scales->n_values() == n_rows && (scales->shape.back() == 1 || scales->shape.size() == 1))
      return make_fp8(stored(codes), stored(*scales), 1, n_in);
    std::vector<int64_t> blocks = shape;
    if (blocks.size() < 2) reject(codes, "found {}, expected a matrix", shape_string(shape));
    blocks[blocks.size() - 2] = (n_out + sizes_.block_rows - 1) / sizes_.block_rows;
    blocks.back() = (n_in + sizes_.block_columns - 1) / sizes_.block_columns;
    expect_shape(*scales, blocks);
    return make_fp8(stored(codes), stored(*scales), sizes_.block_rows, sizes_.block_columns);
  }

  void expect_shape(const StoredTensor& scales, const std::vector<int64_t>& shape) const {
    if (scales.shape != shape)
      reject(scales, "found shape {}, expected {}", shape_string(scales.shape), shape_string(shape));
  }

  const Checkpoint& checkpoint_;
  const CodingSizes& sizes_;
  bool with_data_;
  std::unordered_set<std::string, TextHash> used_;
};

}  // namespace

std::vector<std::unique_ptr<StoredWeight>> find_weights(const Checkpoint& checkpoint, const CodingSizes& sizes,
                                                        bool with_data) {
  return Finder(checkpoint, sizes, with_data).weights();
}

}  // namespace steelyard::huggingface
