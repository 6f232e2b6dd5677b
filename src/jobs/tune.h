// Tunes what is free in a quantized file (tune/parameters.h) to the model that it was made from.
//
// Progress: stage "write" where a model writes the text, then as jobs/tuning.h.
#pragma once

#include <cstdint>
#include <string>

#include "jobs/calibration_text.h"
#include "jobs/tuning.h"

namespace steelyard::jobs {

struct TuneOptions {
  std::string model;   ///< quantized GGUF file, or the first of its shards
  std::string output;  ///< GGUF file to write
  TextOptions text;    ///< TextSource; without a file: the base's text
  WritingOptions writing;
  double own_share = 0.75;  ///< of the chunks, where a file has the others
  WriterFiles files;
  ConversationFiles conversations;
  double conversations_share = kConversationsShare;  ///< of the chunks, with a text
  std::string kl_divergence_base;                    ///< of perplexity --kl-divergence-base, with the same text
  std::string teacher;                               ///< instead of it: the model that the file was made from
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
    visit("own_share", self.own_share);
    visit.group(self.files);
    visit.group(self.conversations);
    visit("conversations_share", self.conversations_share);
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

/// Error as run_tuning, and for outputs that cannot be written or are inputs. All of it shows before the work.
TuneResult tune(const TuneOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
