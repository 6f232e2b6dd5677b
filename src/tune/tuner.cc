#include "tune/tuner.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "base/random.h"
#include "evaluate/sweep_divergence.h"

namespace steelyard::tune {
namespace {

constexpr int64_t kWarmUp = 10;  // steps whose rate grows

// Of the rate at a step: grows at first, then falls to zero as a cosine (Loshchilov, Hutter 2017, "SGDR").
double share_of(int64_t step, int64_t steps) {
  const double warm = std::min(1.0, static_cast<double>(step) / static_cast<double>(kWarmUp));
  const double along = static_cast<double>(step - 1) / static_cast<double>(steps);
  return warm * 0.5 * (1 + std::cos(std::numbers::pi * along));
}

}  // namespace

Tuner::Tuner(const tokenizer::Chunks& chunks, const evaluate::DivergenceBase& base, schedule::GradientSweep& sweep,
             Parameters& parameters, const TunerSettings& settings)
    : chunks_(chunks), base_(base), sweep_(sweep), parameters_(parameters), settings_(settings) {
  STEELYARD_CHECK(settings.n_held_out > 0 && settings.n_held_out < chunks.count() && settings.compare_every > 0);
}

const Comparison& Tuner::best() const { return *std::ranges::min_element(comparisons_, {}, &Comparison::divergence); }

// Each chunk once, in an order of its own, before any comes again.
std::vector<int64_t> Tuner::chunks_of(int64_t step) const {
  const int64_t n = chunks_.count() - settings_.n_held_out, n_chunks = std::min(n, settings_.chunks_per_step);
  std::vector<int64_t> order(static_cast<size_t>(n)), out;
  for (int64_t i = (step - 1) * settings_.chunks_per_step; std::ssize(out) < n_chunks; ++i) {
    if (out.empty() || i % n == 0) {
      std::iota(order.begin(), order.end(), 0);
      Random random(settings_.seed, static_cast<uint64_t>(i / n));
      for (int64_t j = n - 1; j > 0; --j)
        std::swap(order[static_cast<size_t>(j)], order[static_cast<size_t>(random.below(j + 1))]);
    }
    out.push_back(order[static_cast<size_t>(i % n)]);
  }
  return out;
}

void Tuner::shorten(int64_t steps) {
  if (finished()) return;
  settings_.steps = std::clamp(steps, std::max<int64_t>(next_, 1), settings_.steps);
}

double Tuner::train(std::span<const int64_t> chunks) {
  const int64_t n = base_.n_targets();
  double sum = 0;
  sweep_.run(chunks, [&](int64_t chunk, int64_t first, compute::Matrix logits, compute::Backend& backend) {
    const auto n_rows = static_cast<size_t>(logits.rows);
    std::vector<int32_t> tokens(n_rows * static_cast<size_t>(n));
    std::vector<float> probs(tokens.size()), losses(n_rows);
    parallel_for(logits.rows, 4, [&](int64_t r) {
      base_.target(chunk, first + r, std::span(tokens).subspan(static_cast<size_t>(r * n), static_cast<size_t>(n)),
                   std::span(probs).subspan(static_cast<size_t>(r * n), static_cast<size_t>(n)));
    });
    const compute::Buffer device_tokens = backend.allocate_copy(tokens.data(), tokens.size() * sizeof(int32_t));
    const compute::Buffer device_probs = backend.allocate_copy(probs.data(), probs.size() * sizeof(float));
    const compute::Buffer device_losses = backend.allocate(n_rows * sizeof(float));
    auto* const on_device = reinterpret_cast<float*>(device_losses.get());
    backend.divergence(
        logits,
        {n, reinterpret_cast<const int32_t*>(device_tokens.get()), reinterpret_cast<const float*>(device_probs.get())},
        on_device);
    backend.download(losses.data(), on_device, n_rows * sizeof(float));
    for (const float loss : losses) sum += loss;
  });
  const double mean = sum / static_cast<double>(std::ssize(chunks) * chunks_.n_scored());
  if (!std::isfinite(mean)) fail(base_.path(), "the divergence of chunk {} is {}", chunks.front() + 1, mean);
  return mean;
}

double Tuner::compare() {
  std::vector<int64_t> held_out(static_cast<size_t>(settings_.n_held_out));
  std::iota(held_out.begin(), held_out.end(), chunks_.count() - settings_.n_held_out);
  const double mean = evaluate::sweep_divergence(sweep_, chunks_, base_, held_out);
  if (!std::isfinite(mean)) fail(base_.path(), "the divergence of the held-out chunks is {}", mean);
  return mean;
}

int64_t Tuner::advance() {
  const int64_t step = next_++;
  if (step > 0) {
    const std::vector<int64_t> chunks = chunks_of(step);
    const double divergence = train(chunks);
    training_ += divergence;
    ++n_training_;
    if (step == 1) parameters_.set_lengths(divergence, std::ssize(chunks) * chunks_.n_scored());
    parameters_.step(share_of(step, settings_.steps), step);
  }
  if (step % settings_.compare_every == 0 || step == settings_.steps) {
    const double divergence = compare();
    if (step > 0 && divergence < best().divergence) parameters_.keep();
    comparisons_.push_back({step, divergence, n_training_ > 0 ? training_ / static_cast<double>(n_training_) : 0});
    training_ = 0;
    n_training_ = 0;
  }
  return step;
}

}  // namespace steelyard::tune
