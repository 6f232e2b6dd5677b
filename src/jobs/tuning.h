// A tuning run on chunks of text, for the jobs that tune: a file that there is (tune), or one that was just made
// (quantize --tune).
//
// Progress:
//   "teacher"   where the teacher's distributions are computed first: `done` of `total` chunks
//   "tuning"    once, before the first step: data {n_parameters, n_tensors, n_training, steps}
//   "tune"      after each step: `done` of `total` steps; after a comparison with data of TuneComparison
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "jobs/progress.h"
#include "jobs/text_options.h"
#include "tokenizer/chunks.h"

namespace steelyard::jobs {

/// What shapes the result, besides model, text and teacher.
struct TuningOptions {
  int64_t steps = 150;
  int64_t step_chunks = 4;     ///< chunks of a step
  int64_t held_out = 16;       ///< chunks at the end of the text that decide and are not trained on
  int64_t compare_every = 25;  ///< steps between two looks at them
  /// Lengths of steps (tune::Rates): what a step changes of the divergence, as a part of it, at most.
  double rate_vectors = 0.2;  ///< norm gains, biases, sinks; for a divergence of 1, otherwise times its root
  double rate_routers = 0.2;  ///< the same
  double rate_scales = 0.6;   ///< scales of blocks
  int64_t tune_seed = 0;      ///< of the order of chunks

  /// Error for values out of range.
  void check() const;

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
  int64_t n_tensors = 0;  ///< that are tuned
  int64_t n_parameters = 0;
  std::vector<TuneComparison> comparisons;  ///< the first is of the file as it was
  int64_t best_step = 0;                    ///< 0: nothing was better than the file, which was copied
  double divergence_before = 0, divergence = 0;
  int64_t resumed_steps = 0;  ///< that an earlier run had done
  double seconds = 0;         ///< of steps and comparisons, in this run

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("output", self.output);
    visit("bytes", self.bytes);
    visit("n_tensors", self.n_tensors);
    visit("n_parameters", self.n_parameters);
    visit("comparisons", self.comparisons);
    visit("best_step", self.best_step);
    visit("divergence_before", self.divergence_before);
    visit("divergence", self.divergence);
    visit("resumed_steps", self.resumed_steps);
    visit("seconds", self.seconds);
  }
};

struct TuningRun {
  std::string model;    ///< quantized file
  std::string output;   ///< file to write
  std::string teacher;  ///< model that it was made from; or empty, and
  std::string base;     ///< a base file of its distributions for these chunks
  std::string backend = "cpu";
  uint64_t memory = 0;  ///< bytes to use; 0: most of what there is
  TuningOptions tuning;
  double time = 0;          ///< seconds for steps and comparisons, at most; 0: no limit
  ResumeOptions resume;     ///< the teacher's distributions are kept beside it
  bool replace = false;     ///< the progress of another run, instead of refusing it
  std::string source;       ///< name of the quantized file, to be recorded; empty: it is made for this run only
  std::string text;         ///< name of the text, to be recorded
  std::string text_sha256;  ///< the same
};

/// Error for a model that cannot be tuned on chunks of so many tokens. Its header says so, before any work.
void check_tunable(const gguf::Source& model, int64_t n_ctx);
/// Error for a text that leaves nothing to train on beside what is held out.
void check_tuning_text(const tokenizer::Chunks& chunks);

/// Error for options out of range, for too few chunks, and for a model, teacher and base that do not fit together or
/// into memory.
TuneResult run_tuning(const TuningRun& run, tokenizer::Chunks chunks, const ProgressCallback& progress);

}  // namespace steelyard::jobs
