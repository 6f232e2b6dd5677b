// Tunes what is free in a quantized file (tune/parameters.h) to the model that it was made from.
//
// Progress:
//   "plan"      once, before the work: {n_chunks, n_held_out, n_parameters, steps}
//   "write"     where the model writes its text: `done` of `total` chunks
//   "teacher"   where the base is made first: `done` of `total` chunks
//   "tune"      after each step: `done` of `total` steps; after a comparison data {divergence, before, training}
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/calibration_text.h"
#include "jobs/progress.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

/// What shapes the result, besides model, text and teacher.
struct TuningOptions {
  int64_t steps = 150;
  int64_t step_chunks = 2;      ///< chunks of a step
  int64_t held_out = 16;        ///< chunks at the end of the text that decide and are not trained on
  int64_t compare_every = 25;   ///< steps between two looks at them
  double rate_vectors = 0.002;  ///< of norm gains and other F32 vectors; 0: they stay
  double rate_routers = 0.002;
  double rate_scales = 0.001;
  int64_t tune_seed = 0;  ///< of the order of chunks

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("steps", self.steps);
    visit("step_chunks", self.step_chunks);
    visit("held_out", self.held_out);
    visit("compare_every", self.compare_every);
    visit("rate_vectors", self.rate_vectors);
    visit("rate_routers", self.rate_routers);
    visit("rate_scales", self.rate_scales);
    visit("tune_seed", self.tune_seed);
  }
};

struct TuneOptions {
  std::string model;   ///< quantized GGUF file, or the first of its shards
  std::string output;  ///< GGUF file to write
  TextOptions text;    ///< TextSource; without a file: the base's text
  WritingOptions writing;
  WriterFiles files;
  std::string kl_divergence_base;  ///< of perplexity --kl-divergence-base, with the same text
  std::string teacher;             ///< instead of it: the model that the file was made from
  std::string backend = "cpu";
  int threads = 0;
  uint64_t memory = 0;  ///< bytes to use; 0: most of what there is
  TuningOptions tuning;
  double time = 0;  ///< seconds of tuning, at most; 0: no limit
  ResumeOptions resume;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("output", self.output);
    visit.group(self.text);
    visit.group(self.writing);
    visit.group(self.files);
    visit("kl_divergence_base", self.kl_divergence_base);
    visit("teacher", self.teacher);
    visit("backend", self.backend);
    visit("threads", self.threads);
    visit.bytes("memory", self.memory);
    visit.group(self.tuning);
    visit("time", self.time);
    visit.group(self.resume);
  }
};

/// Divergence of the held-out chunks after so many steps.
struct TuneComparison {
  int64_t step = 0;
  double divergence = 0;
  double training = 0;  ///< of the training chunks since the last comparison

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("step", self.step);
    visit("divergence", self.divergence);
    visit("training", self.training);
  }
};

struct TuneResult {
  std::string output;
  uint64_t bytes = 0;
  int64_t n_parameters = 0;
  std::vector<TuneComparison> comparisons;  ///< the first is of the file as it was
  int64_t best_step = 0;                    ///< 0: nothing was better than the file, which was copied
  double divergence_before = 0, divergence = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("output", self.output);
    visit("bytes", self.bytes);
    visit("n_parameters", self.n_parameters);
    visit("comparisons", self.comparisons);
    visit("best_step", self.best_step);
    visit("divergence_before", self.divergence_before);
    visit("divergence", self.divergence);
  }
};

TuneResult tune(const TuneOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
