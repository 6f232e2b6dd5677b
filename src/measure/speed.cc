#include "measure/speed.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/parallel.h"
#include "gguf/block_name.h"

namespace steelyard::measure {
namespace {

template <typename Work>
double seconds(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename Work>
double least_seconds(int n_rounds, const Work& work) {
  work();
  double least = seconds(work);
  for (int i = 1; i < n_rounds; ++i) least = std::min(least, seconds(work));
  return least;
}

}  // namespace

namespace {

// Spread over the vocabulary, so that the tokens of a mixture of experts go different ways.
std::vector<int32_t> some_tokens(const model::Model& model, int64_t n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>((i * 7919 + 17) % static_cast<size_t>(model.config().n_vocab));
  }
  return ids;
}

// Measures stretches of work and keeps the fastest. Meters are read between steps, because their counters wrap around.
class BestRun {
 public:
  BestRun(int64_t n_tokens, EnergyMeters& meters) : n_tokens_(n_tokens), meters_(meters) {}

  template <typename Work>
  void run(const Work& work) {
    const double joules = meters_.joules();
    const double taken = seconds(work);
    const double used = meters_.joules() - joules;
    if (seconds_ > 0 && taken >= seconds_) return;
    seconds_ = taken;
    joules_ = used;
  }

  double best_seconds() const { return seconds_; }
  std::optional<Rate> rate() const {
    if (n_tokens_ == 0) return std::nullopt;
    Rate rate{static_cast<double>(n_tokens_) / seconds_, std::nullopt};
    if (!meters_.meters.empty()) rate.watts = joules_ / seconds_;
    return rate;
  }

 private:
  int64_t n_tokens_;
  EnergyMeters& meters_;
  double seconds_ = 0, joules_ = 0;
};

}  // namespace

ContextSpeed measure_speed(const model::Model& model, schedule::Session& session, int64_t n_context,
                           const SpeedOptions& options, EnergyMeters& meters) {
  const std::vector<int32_t> ids = some_tokens(model, n_context + options.n_decode);
  std::vector<float> logits(static_cast<size_t>(model.config().n_vocab));
  // Logits are brought to the host, where the next token would be chosen: until then a device may still be at work.
  const auto forward = [&](int64_t begin, int64_t n, bool last) {
    const compute::Matrix x =
        session.forward(std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)));
    if (last) {
      model.backend().download(logits.data(), session.logits(x.slice(n - 1, 1)).data, logits.size() * sizeof(float));
    }
    meters.joules();
  };
  BestRun prefill(n_context, meters), decode(options.n_decode, meters);
  for (int round = 0; round < options.n_rounds; ++round) {
    session.reset();
    prefill.run([&] {
      for (int64_t begin = 0; begin < n_context; begin += options.n_batch) {
        const int64_t n = std::min(options.n_batch, n_context - begin);
        forward(begin, n, begin + n == n_context);
      }
    });
    decode.run([&] {
      for (int64_t t = 0; t < options.n_decode; ++t) forward(n_context + t, 1, true);
    });
  }
  return {n_context, n_context > 0 ? prefill.best_seconds() : 0, prefill.rate(), decode.rate()};
}

void warm_up(const model::Model& model, schedule::Session& session, int64_t n_most, const SpeedOptions& options) {
  SpeedOptions little = options;
  little.n_decode = std::min<int64_t>(options.n_decode, 4);
  little.n_rounds = 1;
  EnergyMeters none;
  measure_speed(model, session, std::min(options.n_batch, n_most), little, none);
}

TokenCost token_cost(const gguf::Source& reader, const model::ModelConfig& config) {
  TokenCost cost;
  const bool tied = reader.find("output.weight") == nullptr;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const std::string_view name = tensor.name;
    const auto block = gguf::block_of(name);
    if (!block && !name.starts_with("output.") && !(tied && name == "token_embd.weight")) continue;
    double share = 1;
    if (block) {
      const auto layer = static_cast<size_t>(*block);
      if (layer >= config.layers.size()) continue;  // not part of the trunk
      const model::FfnConfig& ffn = config.layers[layer].ffn;
      if (name.find("_exps.") != name.npos) share = static_cast<double>(ffn.n_used) / static_cast<double>(ffn.n_expert);
      if (tensor.ne[1] > 1) cost.products += share * static_cast<double>(tensor.n_elements());
    }
    cost.bytes += share * static_cast<double>(tensor.n_bytes);
  }
  return cost;
}

double measure_bandwidth() {
  constexpr int64_t kChunk = 1 << 17, kChunks = 256;  // words of eight bytes
  std::vector<uint64_t> memory(kChunk * kChunks, 1);
  std::vector<uint64_t> sums(kChunks);
  const auto read = [&] {
    parallel_for(kChunks, 1, [&](int64_t chunk) {
      uint64_t sum = 0;
      for (int64_t i = chunk * kChunk; i < (chunk + 1) * kChunk; ++i) sum += memory[static_cast<size_t>(i)];
      sums[static_cast<size_t>(chunk)] = sum;
    });
  };
  return static_cast<double>(memory.size() * sizeof(uint64_t)) / least_seconds(5, read);
}

double measure_product_rate(compute::Backend& backend) {
  constexpr int64_t kSize = 768;
  const compute::Buffer memory = backend.allocate(3 * kSize * kSize * sizeof(float));
  backend.zero(memory.get(), 3 * kSize * kSize * sizeof(float));
  auto* values = reinterpret_cast<float*>(memory.get());
  const compute::Weight weight{"", &format(formats::Type::F32), kSize, kSize, 1, memory.get()};
  const compute::Matrix x{values + kSize * kSize, kSize, kSize, kSize},
      out{values + 2 * kSize * kSize, kSize, kSize, kSize};
  return static_cast<double>(kSize * kSize * kSize) / least_seconds(8, [&] { backend.mul_mat(weight, 0, x, out); });
}

}  // namespace steelyard::measure
