#include "tune/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/parallel.h"

namespace steelyard::tune {
namespace {

constexpr float kBeta1 = 0.9f, kBeta2 = 0.95f;
constexpr double kLongest = 1;  // no value moves by more than itself, however little its kind changes

float* floats(const compute::Buffer& buffer) { return reinterpret_cast<float*>(buffer.get()); }

float root_mean_square(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return static_cast<float>(std::sqrt(sum / static_cast<double>(std::max<size_t>(values.size(), 1))));
}

int64_t n_blocks(const gguf::TensorInfo& tensor) {
  return static_cast<int64_t>(tensor.n_bytes) / format(tensor.type).block_bytes;
}

std::vector<float> read_scales(const gguf::TensorInfo& tensor, const std::byte* blocks) {
  const formats::Format& format = formats::format(tensor.type);
  std::vector<float> scales(static_cast<size_t>(n_blocks(tensor) * format.n_scales));
  parallel_for(n_blocks(tensor), 4096, [&](int64_t b) {
    format.read_scales(blocks + b * format.block_bytes, scales.data() + b * format.n_scales);
  });
  return scales;
}

// Each bit of a type halves its error, and with it what there is to correct.
float share_of_bits(const formats::Format& format) {
  return std::exp2(-8.0f * static_cast<float>(format.block_bytes) / static_cast<float>(format.block_len));
}

// Gains differ by orders of magnitude within a tensor, and act as factors: steps are in parts of each. Biases and sinks
// are added, and may be near 0.
bool is_gain(const std::string& name) { return name.ends_with("norm.weight"); }

// Only chooses experts, and so has no gradient.
bool is_selection_bias(const std::string& name) { return name.ends_with("exp_probs_b.bias"); }

bool is_router(const std::string& name) { return name.find(".ffn_gate_inp") != std::string::npos; }

}  // namespace

Parameters::Parameters(const gguf::Source& file, const model::LoadedTensors& loaded, const Rates& rates,
                       compute::GradientTape& tape)
    : file_(file), rates_(rates), backend_(tape) {
  for (const auto& [name, vector] : loaded.vectors) {
    const gguf::TensorInfo& tensor = *file.find(name);
    if (tensor.type != formats::Type::F32 || rates.vectors == 0 || is_selection_bias(name)) continue;
    const gguf::Bytes bytes = file.read(tensor);
    const std::span values(reinterpret_cast<const float*>(bytes.data()), static_cast<size_t>(vector.n));
    add({.name = name,
         .weight = nullptr,
         .vector = const_cast<float*>(vector.data),  // in memory of its own
         .n = vector.n,
         .kind = &Rates::vectors,
         .length = 1,
         .size = is_gain(name) ? 0.0f : root_mean_square(values)},
        values, vector.data, tape);
  }
  for (const auto& [name, weight] : loaded.weights) {
    const gguf::TensorInfo& tensor = *file.find(name);
    const bool router = tensor.type == formats::Type::F32 && is_router(name);
    const auto kind = router ? &Rates::routers : &Rates::scales;
    if (!(router || weight.format->is_quantized()) || rates.*kind == 0 || weight.format->n_scales == 0) continue;
    const std::vector<float> values = read_scales(tensor, file.read(tensor).data());
    add({.name = name,
         .weight = &weight,
         .vector = nullptr,
         .n = std::ssize(values),
         .kind = kind,
         .length = router ? 1 : share_of_bits(*weight.format),
         .size = router ? root_mean_square(values) : 0.0f},
        values, weight.data, tape);
  }
}

void Parameters::add(Parameter parameter, std::span<const float> values, const void* address,
                     compute::GradientTape& tape) {
  parameter.values = backend_.allocate_copy(values.data(), values.size_bytes());
  for (compute::Buffer* buffer : {&parameter.gradients, &parameter.m, &parameter.v}) {
    *buffer = backend_.allocate(values.size_bytes());
    backend_.zero(buffer->get(), values.size_bytes());
  }
  tape.collect(address, floats(parameter.gradients));
  all_.push_back(std::move(parameter));
}

int64_t Parameters::count() const {
  int64_t n = 0;
  for (const Parameter& parameter : all_) n += parameter.n;
  return n;
}

void Parameters::apply(const Parameter& parameter) {
  if (parameter.weight != nullptr) {
    backend_.write_scales(*parameter.weight, floats(parameter.values));
  } else {
    const compute::Matrix from{floats(parameter.values), 1, parameter.n, parameter.n};
    backend_.copy(from, {parameter.vector, 1, parameter.n, parameter.n});
  }
}

void Parameters::set_lengths(double divergence, int64_t n_positions) {
  const auto change = [&](const Parameter& parameter) {  // of the divergence, if all move to the same side
    const auto n = static_cast<size_t>(parameter.n);
    std::vector<float> gradients(n), values(n, parameter.size);
    backend_.download(gradients.data(), parameter.gradients.get(), n * sizeof(float));
    if (parameter.size == 0) backend_.download(values.data(), parameter.values.get(), n * sizeof(float));
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::abs(double{gradients[i]} * values[i]);
    return parameter.length * sum / static_cast<double>(n_positions);
  };
  for (const auto kind : {&Rates::vectors, &Rates::routers, &Rates::scales}) {
    double sum = 0;
    for (const Parameter& parameter : all_) sum += parameter.kind == kind ? change(parameter) : 0;
    const double wanted = rates_.*kind * divergence * (kind == &Rates::scales ? std::sqrt(divergence) : divergence);
    const double factor = sum > 0 ? wanted / sum : 0;
    for (Parameter& parameter : all_)
      if (parameter.kind == kind) parameter.length = static_cast<float>(std::min(kLongest, parameter.length * factor));
  }
}

void Parameters::step(double share, int64_t number) {
  const auto correction = [&](float beta) { return static_cast<float>(1 - std::pow(double{beta}, number)); };
  for (const Parameter& parameter : all_) {
    const compute::AdamArgs args{static_cast<float>(share * parameter.length),
                                 parameter.size,
                                 kBeta1,
                                 kBeta2,
                                 correction(kBeta1),
                                 correction(kBeta2)};
    backend_.adam(args, parameter.n, floats(parameter.gradients), floats(parameter.m), floats(parameter.v),
                  floats(parameter.values));
    backend_.zero(parameter.gradients.get(), static_cast<size_t>(parameter.n) * sizeof(float));
    apply(parameter);
  }
}

void Parameters::keep() {
  for (Parameter& parameter : all_) {
    parameter.kept.resize(static_cast<size_t>(parameter.n));
    backend_.download(parameter.kept.data(), parameter.values.get(), parameter.kept.size() * sizeof(float));
  }
  kept_ = true;
}

std::vector<std::byte> Parameters::bytes(const gguf::TensorInfo& tensor) const {
  const auto found = std::ranges::find(all_, tensor.name, &Parameter::name);
  if (found == all_.end() || !kept_) return {};
  const gguf::Bytes source = file_.read(tensor);
  std::vector<std::byte> bytes(source.view.begin(), source.view.end());
  if (found->weight == nullptr) {
    std::memcpy(bytes.data(), found->kept.data(), bytes.size());
    return bytes;
  }
  const formats::Format& format = formats::format(tensor.type);
  parallel_for(n_blocks(tensor), 4096, [&](int64_t b) {
    format.write_scales(found->kept.data() + b * format.n_scales, bytes.data() + b * format.block_bytes);
  });
  return bytes;
}

void Parameters::save(const std::function<void(std::span<const float>)>& write) const {
  std::vector<float> host;
  write(std::vector<float>{kept_ ? 1.0f : 0.0f});
  for (const Parameter& parameter : all_) {
    write({&parameter.length, 1});
    host.resize(static_cast<size_t>(parameter.n));
    for (const compute::Buffer* buffer : {&parameter.values, &parameter.m, &parameter.v}) {
      backend_.download(host.data(), buffer->get(), host.size() * sizeof(float));
      write(host);
    }
    if (kept_) write(parameter.kept);
  }
}

void Parameters::load(const std::function<void(std::span<float>)>& read) {
  std::vector<float> host(1);
  read(host);
  kept_ = host[0] != 0;
  for (Parameter& parameter : all_) {
    read({&parameter.length, 1});
    host.resize(static_cast<size_t>(parameter.n));
    for (const compute::Buffer* buffer : {&parameter.values, &parameter.m, &parameter.v}) {
      read(host);
      backend_.upload(buffer->get(), host.data(), host.size() * sizeof(float));
    }
    if (kept_) {
      parameter.kept.resize(static_cast<size_t>(parameter.n));
      read(parameter.kept);
    }
    apply(parameter);
  }
}

}  // namespace steelyard::tune
