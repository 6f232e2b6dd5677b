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
#include "gguf/source.h"
#include "model/weights.h"

namespace steelyard::tune {

/// How far steps go, for each kind of parameter: what a step of full length changes of the divergence, as a part of it,
/// if all numbers of the kind move to the same side of it. 0: they stay as they are. So one rate is right for models
/// that differ in how steep they are. What norms and routers can mend falls faster than the divergence, so theirs is
/// for a divergence of one nat, and in proportion to its root.
struct Rates {
  double vectors = 0;  ///< gains, in parts of each; biases and sinks, in parts of their root mean square
  double routers = 0;  ///< in parts of the root mean square of the tensor
  double scales = 0;   ///< in parts of each scale, half as long for each bit that a type has more
};

class Parameters {
 public:
  /// Takes the parameters of `loaded`, whose tensors are those of `file` and must stay where they are, and has `tape`
  /// collect their gradients. Those with a rate of 0 are left out.
  Parameters(const gguf::Source& file, const model::LoadedTensors& loaded, const Rates& rates,
             compute::GradientTape& tape);

  /// Numbers that are tuned.
  int64_t count() const;
  int64_t n_tensors() const { return static_cast<int64_t>(all_.size()); }

  /// Finds the lengths of all steps, before the first: the gradients collected are those of a divergence of so many
  /// nats per position.
  void set_lengths(double divergence, int64_t n_positions);
  /// One step of Adam along the gradients collected since the last one. share: of the full length. number: 1, 2, ...
  void step(double share, int64_t number);

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
    double Rates::*kind;
    float length;  // of a step; until set_lengths, in proportion to others of the kind
    float size;    // AdamArgs
    compute::Buffer values, gradients, m, v;
    std::vector<float> kept;
  };
  void add(Parameter parameter, std::span<const float> values, const void* address, compute::GradientTape& tape);
  // Makes the model compute with the values.
  void apply(const Parameter& parameter);

  const gguf::Source& file_;
  Rates rates_;
  compute::Backend& backend_;
  std::vector<Parameter> all_;
  bool kept_ = false;
};

}  // namespace steelyard::tune
