// Tunes a quantized model to the distributions of the model that it was made from: Adam on the KL divergence at the
// end, over what Parameters finds. Some chunks of the text are held out. Their divergence decides which state of the
// run is the result, the beginning included: where nothing beats the file, nothing is changed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/resume_file.h"
#include "evaluate/divergence_base.h"
#include "schedule/gradient_sweep.h"
#include "tokenizer/chunks.h"
#include "tune/parameters.h"

namespace steelyard::tune {

struct TunerSettings {
  int64_t steps = 0;
  int64_t chunks_per_step = 0;
  int64_t n_held_out = 0;     ///< chunks, the last ones of the text; at least 1
  int64_t compare_every = 0;  ///< steps
  uint64_t seed = 0;          ///< of the order of chunks
};

/// Mean divergence of the held-out chunks after so many steps.
struct Comparison {
  int64_t step;
  double divergence;
  double training;  ///< mean of the training chunks since the last comparison; 0 at first
};

class Tuner {
 public:
  /// All outlive the tuner. `base` has the distributions of all chunks.
  Tuner(const tokenizer::Chunks& chunks, const evaluate::DivergenceBase& base, schedule::GradientSweep& sweep,
        Parameters& parameters, const TunerSettings& settings);

  bool finished() const { return next_ > settings_.steps; }
  int64_t steps() const { return settings_.steps; }
  int64_t done() const { return std::max<int64_t>(next_ - 1, 0); }
  /// Fewer steps than were planned, but not fewer than were done.
  void shorten(int64_t steps);
  /// The next step, or at first the comparison of the file as it is. Returns the number of steps done.
  int64_t advance();

  const std::vector<Comparison>& comparisons() const { return comparisons_; }
  /// Of the result; the first comparison is of the file.
  const Comparison& best() const;

  /// The file of a run's state. path: empty keeps none. `identity` identifies the run.
  static ResumeFile open_state(const std::string& path, const std::string& identity);
  /// All state; durable on return.
  void save(ResumeFile& file) const;
  /// Goes on from it; false where none was saved. Error when it is damaged or of another run.
  bool load(const ResumeFile& file, ResumeFile::Unusable unusable = ResumeFile::Unusable::kRefuse);

 private:
  double compare();
  std::vector<int64_t> chunks_of(int64_t step) const;
  double train(std::span<const int64_t> chunks);

  const tokenizer::Chunks& chunks_;
  const evaluate::DivergenceBase& base_;
  schedule::GradientSweep& sweep_;
  Parameters& parameters_;
  TunerSettings settings_;
  int64_t next_ = 0;  // step; 0: nothing was done yet
  std::vector<Comparison> comparisons_;
  double training_ = 0;  // sum since the last comparison
  int64_t n_training_ = 0;
};

}  // namespace steelyard::tune
