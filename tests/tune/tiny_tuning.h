// A golden model, some of its tensors in other types, and a tuning run of it to the original: milliseconds per step.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "evaluate/tiny_run.h"
#include "gguf/reader.h"
#include "model_copy.h"
#include "tune/tuner.h"

namespace steelyard::tune {

using formats::Type;

/// The type that a tensor is to have.
using TypeOf = std::function<Type(const gguf::TensorInfo&)>;

/// All matrices in one type, vectors and routers as they are.
inline TypeOf matrices_in(Type type) {
  return [type](const gguf::TensorInfo& tensor) {
    const bool stays = tensor.n_dims < 2 || tensor.name.find("ffn_gate_inp") != std::string::npos;
    return stays || tensor.ne[0] % format(type).block_len != 0 ? tensor.type : type;
  };
}

/// Writes a golden model, all F32, in other types.
inline void write_in_types(const std::string& golden_model, const TypeOf& type_of, const std::string& path) {
  test::ModelCopy copy(test::golden("models/" + golden_model + "/model.gguf"));
  for (auto& [info, bytes] : copy.tensors) {
    const formats::Format& format = formats::format(type_of(info));
    if (format.type == info.type) continue;
    const std::vector<std::byte> values = std::move(bytes);
    const int64_t n_blocks = info.n_elements() / format.block_len;
    info.type = format.type;
    info.n_bytes = static_cast<uint64_t>(n_blocks * format.block_bytes);
    bytes.resize(info.n_bytes);
    format.encoder->encode_row(reinterpret_cast<const float*>(values.data()), nullptr, n_blocks, formats::Effort::kFast,
                               bytes.data());
  }
  copy.save(path);
}

/// The distributions of a golden model at all positions of `n_chunks` chunks of 64 tokens. One for all tests of a
/// program: making it takes as long as some of them.
class Teacher {
 public:
  explicit Teacher(const std::string& golden_model, int64_t n_chunks = 8)
      : original_(test::golden("models/" + golden_model + "/model.gguf"), n_chunks) {
    original_.chunks.score_from(0);
    original_.write_base(folder_ / "base", evaluate::BaseLayout::kCompact);
    base_ = evaluate::DivergenceBase::open(folder_ / "base");
  }
  const tokenizer::Chunks& chunks() const { return original_.chunks; }
  const evaluate::DivergenceBase& base() const { return *base_; }

 private:
  const test::TempFolder folder_;
  evaluate::TinyRun original_;
  std::unique_ptr<evaluate::DivergenceBase> base_;
};

constexpr Rates kRates = {.vectors = 0.2, .routers = 0.2, .scales = 0.6};

/// Everything that tunes the file `path`.
class TinyTuning {
 public:
  TinyTuning(const std::string& path, const Teacher& teacher, const Rates& rates = kRates,
             const TunerSettings& settings =
                 {.steps = 6, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 2, .seed = 0})
      : reader(path),
        backend(compute::make_backend("cpu")),
        tape(*backend),
        model(reader, tape, {}, &loaded),
        sweep(
            model, tape, teacher.chunks().n_ctx(), {teacher.chunks().first_scored(), teacher.chunks().n_scored()},
            [this, &teacher](int64_t chunk) {
              seen.insert(chunk);
              return teacher.chunks().input(chunk);
            },
            {.n_batch = 128, .keep_layers = true}, &loaded),
        parameters(reader, loaded, rates, tape),
        tuner(teacher.chunks(), teacher.base(), sweep, parameters, settings) {}

  void finish() {
    while (!tuner.finished()) tuner.advance();
  }

  /// Of every tensor, as Parameters has them.
  std::map<std::string, std::vector<std::byte>> bytes() const {
    std::map<std::string, std::vector<std::byte>> all;
    for (const gguf::TensorInfo& tensor : reader.tensors()) all[tensor.name] = parameters.bytes(tensor);
    return all;
  }
  /// Names of those that are tuned. Keeps the values at hand.
  std::set<std::string> tuned() {
    parameters.keep();
    std::set<std::string> names;
    for (const auto& [name, kept] : bytes()) {
      if (!kept.empty()) names.insert(name);
    }
    return names;
  }

  std::set<int64_t> seen;  ///< chunks that were asked for
  const gguf::Reader reader;
  const std::unique_ptr<compute::Backend> backend;
  compute::GradientTape tape;
  model::LoadedTensors loaded{.weights = {}, .vectors = {}, .writable = true};
  const model::Model model;
  schedule::GradientSweep sweep;
  Parameters parameters;
  Tuner tuner;
};

}  // namespace steelyard::tune
