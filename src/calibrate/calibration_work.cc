#include "calibrate/calibration_work.h"

#include <algorithm>
#include <limits>
#include <random>

#include "base/parallel.h"
#include "calibrate/layer_stages.h"
#include "calibrate/stage_times.h"
#include "gguf/block_name.h"
#include "quantize/ldlq.h"

namespace steelyard::calibrate {
namespace {

// For each weight of a matrix of n columns, times n: feedback 1/2, three passes of descent, shrinkage; W D twice; what
// four results lose. And of the correction, in F64.
constexpr double kFeedback = 0.5 + 3 + 1, kProducts = kFeedback + 2 + 4, kSolution = 1;
// For each input, times n^2: H is symmetric, D is not.
constexpr double kMoments = 0.5 + 1;
// For each slice, times n^3: the factor of the correction and that of feedback.
constexpr double kFactors = 2.0 / 3;

}  // namespace

CalibrationWork calibration_work(const gguf::Source& source, const model::ModelConfig& config,
                                 const plan::Resolution& resolution, const TextSize& text, bool makes_sums_twice) {
  struct Products {
    double mixer = 0, ffn = 0;  // for a token
  };
  std::vector<Products> products(config.layers.size());
  for (const gguf::TensorInfo& tensor : source.tensors()) {
    const auto block = gguf::block_of(tensor.name);
    if (!block || *block < 0 || static_cast<size_t>(*block) >= products.size() || tensor.ne[1] <= 1) continue;
    const model::FfnConfig& ffn = config.layers[static_cast<size_t>(*block)].ffn;
    const bool is_ffn = part_of(stage_of(tensor.name)) == model::LayerPart::kFfn;
    const double share = is_ffn && tensor.ne[2] > 1 && ffn.n_expert > 0
                             ? static_cast<double>(ffn.n_used) / static_cast<double>(ffn.n_expert)
                             : 1.0;
    Products& own = products[static_cast<size_t>(*block)];
    (is_ffn ? own.ffn : own.mixer) += share * static_cast<double>(tensor.n_elements());
  }

  CalibrationWork work;
  const auto n_layers = static_cast<int>(products.size());
  const auto stages = by_stage(resolution, products.size());
  for (int l = 0; l < n_layers; ++l) {
    const auto layer = static_cast<size_t>(l);
    const double tokens = static_cast<double>(text.n_tokens()),
                 watched = tokens * (compares_half(l, n_layers) ? 1.5 : 1.0);
    const auto forward = [&](int stage) {
      return part_of(stage) == model::LayerPart::kFfn ? products[layer].ffn : products[layer].mixer;
    };
    work.forward += 2 * tokens * (products[layer].mixer + products[layer].ffn);
    for (int stage = 0; stage < kStages; ++stage) {
      const auto& decisions = stages[layer][static_cast<size_t>(stage)];
      if (decisions.empty()) continue;
      work.forward += 2 * watched * forward(stage);
      for (const StageInput& input : stage_inputs(decisions, stage)) {
        const auto n = static_cast<double>(input.n), n_slices = static_cast<double>(input.n_slices);
        const double rows = input.routed ? static_cast<double>(config.layers[layer].ffn.n_used) : n_slices;
        const double weights = n_slices * static_cast<double>(input.weights);
        work.moments += watched * rows * kMoments * n * n * (input.routed && makes_sums_twice ? 2 : 1);
        work.factors += n_slices * kFactors * n * n * n + weights * kSolution * n;
        work.feedback += weights * kProducts * n;
        work.weights += weights;
      }
    }
  }
  return work;
}

RoundingRates measure_rounding(formats::Type type, formats::Effort effort, double product_rate,
                               formats::DeviceEncoder* device) {
  constexpr int64_t kColumns = 768, kRowsOfThread = 32;
  const int64_t n_rows = kRowsOfThread * set_thread_count(0);
  const formats::Format& to = format(type);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(n_rows * kColumns)), hessian(kColumns * kColumns);
  for (float& value : rows) value = normal(random);
  for (int64_t i = 0; i < kColumns; ++i) hessian[static_cast<size_t>(i * kColumns + i)] = 1.0f;
  std::vector<std::byte> bytes(rows.size() / static_cast<size_t>(to.block_len) * static_cast<size_t>(to.block_bytes));
  const std::vector<float> importance(kColumns, 1.0f);

  // The best of some rounds: the first wakes threads and touches memory.
  constexpr int kRounds = 3;
  const auto least_seconds = [](const auto& body) {
    double least = std::numeric_limits<double>::max();
    for (int round = 0; round < kRounds; ++round) {
      Stopwatch watch;
      body();
      least = std::min(least, watch.lap());
    }
    return std::max(least, 1e-9);
  };
  RoundingRates rates;
  std::shared_ptr<const quantize::HessianFactor> factor;
  constexpr auto n = static_cast<double>(kColumns);
  rates.factors =
      n * n * n / 3 / least_seconds([&] { factor = quantize::HessianFactor::make(kColumns, hessian.data(), 0.1); });
  const quantize::LdlqSettings settings{.effort = effort};
  const float* const both[] = {importance.data(), nullptr};
  const auto round_all = [&] {
    quantize::LdlqEncoder(to, factor, settings, device).encode(rows.data(), n_rows, bytes.data());
    if (device != nullptr && device->encodes(type)) {
      for (const float* weights : both)
        device->encode(type, rows.data(), n_rows, kColumns, weights, effort, bytes.data());
      return;
    }
    const auto row_bytes = static_cast<int64_t>(bytes.size()) / n_rows;
    parallel_for(n_rows, 4, [&](int64_t r) {
      for (const float* weights : both) {
        to.encoder->encode_row(rows.data() + r * kColumns, weights, kColumns / to.block_len, effort,
                               bytes.data() + r * row_bytes);
      }
    });
  };
  const double seconds = least_seconds(round_all) / static_cast<double>(rows.size());
  rates.seconds_per_weight = std::max(seconds - kFeedback * n / product_rate, seconds / 4);
  return rates;
}

}  // namespace steelyard::calibrate
