// A model's speed over the length of its context, the energy that takes, and what the machine could do at best.
//
// Progress: "left_out" with data {left_out} where contexts are; "machine" before the first measurement, with the result
// so far as data; "contexts" with data BenchContext after each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jobs/model_options.h"
#include "jobs/progress.h"

namespace steelyard::jobs {

struct BenchOptions {
  ModelOptions model = {.precision = "fast"};
  std::vector<int64_t> contexts = {4096, 8192, 16384, 32768, 65536, 131072};  ///< tokens of the prompts
  int64_t n_gen = 64;                            ///< tokens to decode after each prompt; 0: none
  int64_t batch_size = 512;                      ///< tokens of a prompt that go through the model at once
  int repetitions = 1;                           ///< rounds, of which the best counts
  std::string powercap = "/sys/class/powercap";  ///< folder of the processor's meters of energy
  std::string nvml = "libnvidia-ml.so.1";        ///< library that knows those of NVIDIA's devices

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit("contexts", self.contexts);
    visit("n_gen", self.n_gen);
    visit("batch_size", self.batch_size);
    visit("repetitions", self.repetitions);
    visit("powercap", self.powercap);
    visit("nvml", self.nvml);
  }
};

/// One length of the context. What was not measured has no value.
struct BenchContext {
  int64_t context = 0;                        ///< tokens of the prompt
  std::optional<double> first_token_seconds;  ///< from an empty context to the logits after the prompt
  std::optional<double> prefill_tokens_per_second, decode_tokens_per_second;
  std::optional<double> prefill_watts, decode_watts;  ///< means
  std::optional<double> decode_tokens_per_kwh;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("context", self.context);
    visit("first_token_seconds", self.first_token_seconds);
    visit("prefill_tokens_per_second", self.prefill_tokens_per_second);
    visit("decode_tokens_per_second", self.decode_tokens_per_second);
    visit("prefill_watts", self.prefill_watts);
    visit("decode_watts", self.decode_watts);
    visit("decode_tokens_per_kwh", self.decode_tokens_per_kwh);
  }
};

/// A context that is not measured.
struct BenchLeftOut {
  int64_t context = 0;
  std::string why;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("context", self.context);
    visit("why", self.why);
  }
};

struct BenchResult {
  std::string model, settings;
  std::vector<std::string> backends;
  int threads = 0;
  int64_t n_decode = 0, n_batch = 0;
  std::vector<BenchContext> contexts;  ///< rising
  std::vector<BenchLeftOut> left_out;
  std::vector<std::string> meters, no_meters;  ///< of energy: names, and why there are no others
  // What one token takes and what the machine has to give; of the host only.
  std::optional<double> bytes_per_token, products_per_token;
  std::optional<double> bandwidth, f32_products_per_second;  ///< bytes, multiplications per second

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("settings", self.settings);
    visit("backends", self.backends);
    visit("threads", self.threads);
    visit("n_decode", self.n_decode);
    visit("n_batch", self.n_batch);
    visit("contexts", self.contexts);
    visit("left_out", self.left_out);
    visit("meters", self.meters);
    visit("no_meters", self.no_meters);
    visit.if_any("bytes_per_token", self.bytes_per_token);
    visit.if_any("products_per_token", self.products_per_token);
    visit.if_any("bandwidth", self.bandwidth);
    visit.if_any("f32_products_per_second", self.f32_products_per_second);
  }
};

/// Error for options out of range, and where no context is left to measure.
BenchResult bench(const BenchOptions& options, const ProgressCallback& progress = {});

/// The figures as an SVG document: speed over context.
std::string plot(const BenchResult& result);

}  // namespace steelyard::jobs
