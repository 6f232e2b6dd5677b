// A model writes text by itself, to be calibrated on.
//
// Progress: stage "write", `done` of `total` chunks.
#pragma once

#include <cstdint>
#include <string>

#include "jobs/own_text.h"

namespace steelyard::jobs {

struct WriteOptions {
  ModelOptions model = {.precision = "fast"};
  WritingOptions writing;
  std::string output_file;  ///< of saved_text.h
  int64_t ctx_size = 512;   ///< tokens of a chunk
  int64_t chunks = 64;
  int64_t parallel = 0;  ///< chunks at a time; 0: as many as pay off and fit. On the CPU the text does not depend on it
  ResumeOptions resume;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit.group(self.writing);
    visit("output_file", self.output_file);
    visit("ctx_size", self.ctx_size);
    visit("chunks", self.chunks);
    visit("parallel", self.parallel);
    visit.group(self.resume);
  }
};

struct WriteResult {
  std::string output_file;
  std::string sha256;  ///< of that file
  WritingFigures figures;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("output_file", self.output_file);
    visit("sha256", self.sha256);
    visit.group(self.figures);
  }
};

/// Error as OwnText, and for an output that cannot be written.
WriteResult write(const WriteOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
