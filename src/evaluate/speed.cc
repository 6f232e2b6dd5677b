#include "evaluate/speed.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/parallel.h"

namespace steelyard {
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

ModelSpeed measure_speed(const Model& model, int64_t n_prompt, int64_t n_decode, int n_rounds) {
  Session session(model, std::max(n_prompt, n_decode));
  std::vector<int32_t> ids(static_cast<size_t>(std::max(n_prompt, n_decode)));
  // Spread over the vocabulary, so that the tokens of a mixture of experts go different ways.
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>((i * 7919 + 17) % static_cast<size_t>(model.config().n_vocab));
  }
  const auto run = [&](int64_t begin, int64_t n) {
    const Matrix residual = session.forward(std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(n)));
    session.logits(residual.slice(n - 1, 1));
  };
  ModelSpeed speed;
  if (n_prompt > 0) {
    const auto prefill = [&] {
      session.reset();
      run(0, n_prompt);
    };
    speed.prefill = static_cast<double>(n_prompt) / least_seconds(n_rounds, prefill);
  }
  if (n_decode > 0) {
    const auto decode = [&] {
      session.reset();
      for (int64_t t = 0; t < n_decode; ++t) run(t, 1);
    };
    speed.decode = static_cast<double>(n_decode) / least_seconds(n_rounds, decode);
  }
  return speed;
}

TokenCost token_cost(const gguf::Reader& reader, const ModelConfig& config) {
  TokenCost cost;
  const bool tied = reader.find("output.weight") == nullptr;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const std::string_view name = tensor.name;
    if (!name.starts_with("blk.") && !name.starts_with("output.") && !(tied && name == "token_embd.weight")) continue;
    double share = 1;
    if (name.starts_with("blk.")) {
      const auto layer = static_cast<size_t>(std::strtol(tensor.name.c_str() + 4, nullptr, 10));
      if (layer >= config.layers.size()) continue;  // not part of the trunk
      const FfnConfig& ffn = config.layers[layer].ffn;
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

double measure_product_rate(Backend& backend) {
  constexpr int64_t kSize = 768;
  const Buffer memory = backend.allocate(3 * kSize * kSize * sizeof(float));
  backend.zero(memory.get(), 3 * kSize * kSize * sizeof(float));
  auto* values = reinterpret_cast<float*>(memory.get());
  const Weight weight{"", &format(Type::F32), kSize, kSize, 1, memory.get()};
  const Matrix x{values + kSize * kSize, kSize, kSize, kSize}, out{values + 2 * kSize * kSize, kSize, kSize, kSize};
  return static_cast<double>(kSize * kSize * kSize) / least_seconds(8, [&] { backend.mul_mat(weight, 0, x, out); });
}

}  // namespace steelyard
