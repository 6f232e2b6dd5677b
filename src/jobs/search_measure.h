// Measures files of a search on its held-out chunks, and what parts of one change in another.
#pragma once

#include <string>
#include <vector>

#include "base/temporary_file.h"
#include "evaluate/statistics.h"
#include "jobs/search.h"
#include "report/evaluation_page.h"

namespace steelyard::jobs {

/// By held-out chunk.
struct ChunkFigures {
  std::vector<double> divergence;     ///< mean of its tokens, in nats
  std::vector<double> same_top;       ///< share of its tokens
  report::DivergenceDetails details;  ///< for a report; empty where none is wanted

  double mean_divergence() const { return evaluate::mean_estimate(divergence).mean; }
};

/// of - from, over chunks: they share their text, so most of what varies cancels.
evaluate::MeanEstimate paired_difference(const ChunkFigures& of, const ChunkFigures& from);

class HeldOut {
 public:
  /// Computes the model's distributions on the chunks from `first` on and keeps them in the file `path`.
  HeldOut(const SearchOptions& options, int64_t first, int64_t count, std::string path);
  HeldOut(const HeldOut&) = delete;
  HeldOut& operator=(const HeldOut&) = delete;

  ChunkFigures measure(const std::string& file) const;

 private:
  const SearchOptions& options_;
  TextOptions text_;  // the chunks
  std::string path_;
  TemporaryFile base_;
};

}  // namespace steelyard::jobs
