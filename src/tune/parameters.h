// What is tuned of a quantized model: the numbers of its file that can change while every byte count and every code
// stays. These are F32 vectors (norm gains, biases, sinks), routers in F32, and the stored scales of quantized weights
// (Format::read_scales). Each has a master in F32, which steps add up in; the model computes with what the file can
// hold, so a scale is rounded to its half after every step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "compute/gradient_tape.h"
#include "gguf/reader.h"
#include "model/weights.h"

namespace steelyard::tune {

/// How far a step moves a kind of parameter, as a part of its size; 0: it stays as it is.
struct Rates {
  double vectors = 0;  ///< of each gain of a norm; of biases and sinks, of their root mean square
  double routers = 0;  ///< of the root mean square of the tensor
  double scales = 0;   ///< of each scale, for types of 2.5 bits; of others in proportion to what they lose
};

class Parameters {
 public:
  /// Takes the parameters of `loaded`, whose tensors are those of `file` and must stay where they are, and has `tape`
  /// collect their gradients. Those with a rate of 0 are left out.
  Parameters(const gguf::Reader& file, const model::LoadedTensors& loaded, const Rates& rates,
             compute::GradientTape& tape);

  /// Numbers that are tuned.
  int64_t count() const;
  int64_t n_tensors() const { return static_cast<int64_t>(all_.size()); }

  /// One step of Adam along the gradients collected since the last one. share: of the rates. lost: the part of a full
  /// loss that there is to correct, once more of the rates of vectors and routers, its root of those of scales, which
  /// have errors of their own. number: 1, 2, ...
  void step(double share, double lost, int64_t number);

  /// The values are worth keeping: bytes() is of these. At first, the file's are kept.
  void keep();
  /// Whether keep() was called.
  bool changed() const { return kept_; }
  /// The bytes that a tensor of the file has with the kept values; empty where it is not tuned or nothing was kept.
  std::vector<std::byte> bytes(const gguf::TensorInfo& tensor) const;

  /// All state, as numbers, in a fixed order: to go on after an interruption.
  void save(const std::function<void(std::span<const float>)>& write) const;
  void load(const std::function<void(std::span<float>)>& read);

 private:
  struct Parameter {
    std::string name;
    const compute::Weight* weight;  // null for a vector
    float* vector;                  // where the model reads it; null for a weight
    int64_t n;
    double rate;
    float size;  // AdamArgs
    compute::Buffer values, gradients, m, v;
    std::vector<float> kept;
  };
  void add(Parameter parameter, std::span<const float> values, const void* address, compute::GradientTape& tape);
  // Makes the model compute with the values.
  void apply(const Parameter& parameter);

  const gguf::Reader& file_;
  compute::Backend& backend_;
  std::vector<Parameter> all_;
  bool kept_ = false;
};

}  // namespace steelyard::tune
