#include "model/binder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "gguf/block_name.h"

namespace steelyard::model {
namespace {

constexpr std::string_view kWeight = ".weight";

// "blk.0.ffn_up" of "blk.0.ffn_up.weight".
std::string_view stem(std::string_view name) {
  return name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name;
}

std::string shape(const std::array<int64_t, gguf::kMaxDims>& ne) {
  return fmt::format("[{}, {}, {}]", ne[0], ne[1], ne[2]);
}

}  // namespace

Stock::Stock(std::span<const gguf::TensorInfo> tensors) : tensors_(tensors) {
  by_name_.reserve(tensors.size());
  for (const gguf::TensorInfo& tensor : tensors) {
    by_name_.emplace(tensor.name, &tensor);
    if (const auto block = gguf::block_of(tensor.name)) blocks_.insert(*block);
  }
}

const gguf::TensorInfo* Stock::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

void Stock::ask(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne) {
  const bool again = !known_.insert(name).second;  // the embedding is also the output of some models
  if (again) return;
  const gguf::TensorInfo* const tensor = find(name);
  if (tensor == nullptr)
    found_.missing.push_back(name);
  else if (tensor->ne != ne)
    found_.misshapen.push_back(fmt::format("{} ({}, expected {})", name, gguf::shape_string(*tensor), shape(ne)));
}

void Stock::expect_block(size_t i) {
  for (const gguf::TensorInfo& tensor : tensors_) {
    if (gguf::block_of(tensor.name) == static_cast<int64_t>(i)) expect(tensor.name);
  }
}

// Outside blocks, files may have parts that take no part in text, such as towers for images. What lies beside a known
// matrix does.
Inventory Stock::result() const {
  Inventory result = found_;
  std::unordered_set<std::string_view, TextHash> stems;
  for (const std::string& name : known_) stems.insert(stem(name));
  for (const gguf::TensorInfo& tensor : tensors_) {
    if (tensor.n_elements() == 0 || known_.contains(tensor.name)) continue;
    const std::string_view name = tensor.name;
    const bool beside = stems.contains(stem(name.substr(0, name.rfind('.'))));
    if (beside || gguf::block_of(name)) result.unknown.push_back(printable(name));
  }
  return result;
}

bool Binder::is_required(const std::string& name) const {
  return std::ranges::find(required_, name) != required_.end();
}

const gguf::TensorInfo* Binder::look_up(const std::string& name) const {
  return stock_ != nullptr ? stock_->find(name) : reader_->find(name);
}

const gguf::TensorInfo& Binder::find(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne) const {
  const gguf::TensorInfo* tensor = reader_->find(prefix_ + name);
  if (tensor == nullptr) fail(reader_->path(), "tensor {} is missing", prefix_ + name);
  if (tensor->ne != ne)
    fail(reader_->path(), "tensor {} has shape {}, expected {}", tensor->name, gguf::shape_string(*tensor), shape(ne));
  return *tensor;
}

std::array<int64_t, gguf::kMaxDims> Binder::shape_in_file(const std::string& name,
                                                          const std::array<int64_t, gguf::kMaxDims>& ne) const {
  const gguf::TensorInfo* const tensor = look_up(prefix_ + name);
  const auto of_more_than_1 = [](const std::array<int64_t, gguf::kMaxDims>& dims) {
    std::array<int64_t, gguf::kMaxDims> kept;
    kept.fill(1);
    std::copy_if(dims.begin(), dims.end(), kept.begin(), [](int64_t n) { return n != 1; });
    return kept;
  };
  return tensor != nullptr && of_more_than_1(tensor->ne) == of_more_than_1(ne) ? tensor->ne : ne;
}

Weight Binder::weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices) const {
  return weight(name, n_in, n_out, n_slices, /*scaled=*/true);
}

Weight Binder::weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices, bool scaled) const {
  if (stock_ != nullptr) {
    stock_->ask(prefix_ + name, {n_in, n_out, n_slices, 1});
    if (scaled) stock_->expect(std::string(stem(prefix_ + name)) + ".scale");
    // How inputs may be quantized for the product: here they are not.
    stock_->expect(std::string(stem(prefix_ + name)) + ".input_scale");
    static constexpr std::byte kThere{};
    return {.name = name, .data = &kThere};  // not empty
  }
  const gguf::TensorInfo& tensor = find(name, {n_in, n_out, n_slices, 1});
  const formats::Format& type = format(tensor.type);
  if (type.decode == nullptr)
    fail(reader_->path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
  const std::vector<float> factors = scaled ? scales(name, n_slices) : std::vector<float>();
  // What stands in for a loaded weight, or changes it, would lack the factors.
  if (!factors.empty() && loaded_ != nullptr)
    fail(reader_->path(), "tensor {}.scale: weights with factors beside them cannot be calibrated or tuned",
         stem(tensor.name));
  const gguf::Bytes bytes = reader_->read(tensor);
  const Weight in_file{tensor.name, &type, n_in, n_out, n_slices, bytes.data(), bytes.memory};
  if (!factors.empty()) return multiplied(in_file, factors);
  if (loaded_ == nullptr) return load(tensor, in_file);
  const auto there = loaded_->weights.find(tensor.name);
  return there != loaded_->weights.end() ? there->second
                                         : loaded_->weights.emplace(tensor.name, load(tensor, in_file)).first->second;
}

Weight Binder::slices(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices, bool& flat) const {
  const gguf::TensorInfo* const tensor = look_up(prefix_ + name);
  flat = n_slices > 1 && tensor != nullptr && tensor->ne[2] == 1;
  if (!flat) return weight(name, n_in, n_out, n_slices);
  Weight slices = weight(name, n_in, n_out * n_slices);  // the same rows in the same order
  slices.n_out = n_out;
  slices.n_slices = n_slices;
  return slices;
}

std::vector<int32_t> Binder::indices(const std::string& name, int64_t n, int64_t n_slices, int64_t end) const {
  if (stock_ != nullptr) {
    stock_->ask(prefix_ + name, {n, n_slices, 1, 1});
    return {};
  }
  const gguf::TensorInfo& tensor = find(name, {n, n_slices, 1, 1});
  if (tensor.type != formats::Type::I32)
    fail(reader_->path(), "tensor {} has type {}, expected {}", tensor.name, format(tensor.type).name,
         format(formats::Type::I32).name);
  std::vector<int32_t> out(static_cast<size_t>(n * n_slices));
  std::memcpy(out.data(), reader_->read(tensor).data(), out.size() * sizeof(int32_t));
  for (const int32_t index : out) {
    if (index < 0 || index >= end)
      fail(reader_->path(), "tensor {} holds {}, expected 0 to {}", tensor.name, index, end - 1);
  }
  return out;
}

Weight Binder::weight_in_file(const std::string& name, int64_t n_in, int64_t n_out) const {
  if (stock_ != nullptr) {
    stock_->ask(prefix_ + name, {n_in, n_out, 1, 1});
    return {};
  }
  const gguf::TensorInfo& tensor = find(name, {n_in, n_out, 1, 1});
  const formats::Format& type = format(tensor.type);
  if (type.decode == nullptr)
    fail(reader_->path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
  const gguf::Bytes bytes = reader_->read(tensor);
  return {tensor.name, &type, n_in, n_out, 1, bytes.data(), bytes.memory};
}

Weight Binder::rows_of_weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t begin, int64_t n) const {
  Weight rows = weight_in_file(name, n_in, n_out);
  if (stock_ != nullptr) return rows;
  rows.data = rows.row(0, begin);
  rows.n_out = n;
  return backend_->load(std::move(rows));
}

Weight Binder::load(const gguf::TensorInfo& tensor, Weight from) const {
  const int n_scales = from.format->n_scales;
  const std::byte* const in_file = from.data;
  Weight weight = backend_->load(std::move(from));
  if (loaded_ != nullptr && loaded_->writable && n_scales > 0 && weight.data == in_file) {
    weight.memory = backend_->allocate_copy(weight.data, tensor.n_bytes);
    weight.data = weight.memory.get();
  }
  return weight;
}

std::vector<float> Binder::scales(const std::string& weight, int64_t n_slices) const {
  const std::string name = std::string(stem(weight)) + ".scale";
  const gguf::TensorInfo* const tensor = reader_->find(prefix_ + name);
  if (tensor == nullptr) return {};
  std::vector<float> scales = values(name, tensor->ne[0] == 1 ? 1 : n_slices);
  for (const float scale : scales) {
    if (!std::isfinite(scale)) fail(reader_->path(), "tensor {} holds {}, expected a number", tensor->name, scale);
  }
  if (std::ranges::all_of(scales, [](float scale) { return scale == 1; })) return {};
  scales.resize(static_cast<size_t>(n_slices), scales.front());
  return scales;
}

// Blocks cannot hold the factors, so the weight is decoded.
Weight Binder::multiplied(Weight from, std::span<const float> scales) const {
  const auto n_row = static_cast<size_t>(from.n_in);
  const auto values = std::make_shared<std::vector<float>>(n_row * static_cast<size_t>(from.n_out * from.n_slices));
  float* to = values->data();
  for (int64_t slice = 0; slice < from.n_slices; ++slice) {
    const float scale = scales[static_cast<size_t>(slice)];
    for (int64_t row = 0; row < from.n_out; ++row, to += n_row) {
      from.format->decode(from.row(slice, row), from.n_in / from.format->block_len, to);
      for (size_t i = 0; i < n_row; ++i) to[i] *= scale;
    }
  }
  from.format = &format(formats::Type::F32);
  from.data = reinterpret_cast<const std::byte*>(values->data());
  from.memory = std::shared_ptr<const std::byte>(values, from.data);
  return backend_->load(std::move(from));
}

std::vector<float> Binder::values(const std::string& name, int64_t n, int64_t n_slices) const {
  const auto ne = shape_in_file(name, {n, n_slices, 1, 1});
  if (stock_ != nullptr) {
    stock_->ask(prefix_ + name, ne);
    return {};
  }
  const gguf::TensorInfo& tensor = find(name, ne);
  const formats::Format& type = format(tensor.type);
  if (type.decode == nullptr)
    fail(reader_->path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
  std::vector<float> out(static_cast<size_t>(n * n_slices));
  type.decode(reader_->read(tensor).data(), n * n_slices / type.block_len, out.data());
  return out;
}

Vector Binder::vector(const std::string& name, int64_t n, int64_t n_slices) const {
  if (loaded_ == nullptr) return uploaded(values(name, n, n_slices));
  const auto there = loaded_->vectors.find(prefix_ + name);
  if (there != loaded_->vectors.end()) return there->second;
  return loaded_->vectors.emplace(prefix_ + name, uploaded(values(name, n, n_slices))).first->second;
}

Vector Binder::transposed(const std::string& name, int64_t n, int64_t n_slices) const {
  const std::vector<float> rows = values(name, n, n_slices);
  std::vector<float> columns(rows.size());
  for (int64_t s = 0; s < n_slices && !rows.empty(); ++s) {
    for (int64_t i = 0; i < n; ++i)
      columns[static_cast<size_t>(i * n_slices + s)] = rows[static_cast<size_t>(s * n + i)];
  }
  return uploaded(columns);
}

Vector Binder::optional(const std::string& name, int64_t n, int64_t n_slices) const {
  return has(name) || is_required(name) ? vector(name, n, n_slices) : Vector{};
}

Vector Binder::scaled_vector(const std::string& name, int64_t n, float factor) const {
  std::vector<float> host = values(name, n);
  for (float& value : host) value *= factor;
  return uploaded(host);
}

Vector Binder::optional_rows(const std::string& name, int64_t n, int64_t width) const {
  if (!has(name)) return {};
  std::vector<float> rows;
  for (const float value : values(name, n)) rows.insert(rows.end(), static_cast<size_t>(width), value);
  return uploaded(rows);
}

std::vector<float> Binder::rope_factors(const std::string& name, int64_t n) const {
  std::vector<float> factors = values(name, n);
  for (const float factor : factors) {
    if (!(factor > 0) || !std::isfinite(factor))
      fail(reader_->path(), "tensor {} holds {}, expected > 0", name, factor);
  }
  return factors;
}

Vector Binder::uploaded(const std::vector<float>& host) const {
  Vector out;
  if (stock_ != nullptr) return out;
  out.memory = backend_->allocate_copy(host.data(), host.size() * sizeof(float));
  out.data = reinterpret_cast<const float*>(out.memory.get());
  out.n = static_cast<int64_t>(host.size());
  return out;
}

}  // namespace steelyard::model
