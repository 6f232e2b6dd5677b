// Importance: text runs through a model and its inputs are summed up; importance files are merged and converted.
//
// Progress, of a collection only:
//   "write"    where the model writes the text: `done` of `total` chunks
//   "start"    once: `collected` of the result, as far as it is known before the first chunk
//   "collect"  after every step, a layer or a batch: `done` of `total` of the chunks that `item` names
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/ranks.h"
#include "jobs/calibration_text.h"
#include "jobs/model_options.h"
#include "jobs/plan.h"
#include "jobs/progress.h"
#include "jobs/sweep_options.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

struct ImatrixOptions {
  ModelOptions model;       ///< may be empty without a text
  TextOptions text;         ///< its file as TextSource; without one, `in_file` alone; no stride
  double own_share = 0.75;  ///< with self+FILE: chunks that are self
  WritingOptions writing;   ///< with self: the text
  WriterFiles files;        ///< the same
  ConversationFiles conversations;
  double conversations_share = kConversationsShare;  ///< of the chunks, with a text
  SweepChoice sweep;
  ResumeOptions resume;
  std::string output_file;           ///< .dat for the legacy layout, else GGUF; may be empty in a dry run
  std::vector<std::string> in_file;  ///< importance files to add to what is collected, or to merge
  bool process_output = false;       ///< also collect for output.weight
  int64_t min_expert_tokens = 0;     ///< go on, `chunks` at a time, until every expert has seen so many tokens
  bool dry_run = false;              ///< with model, ctx_size and chunks: what it would take, from the header alone

  /// Processes that share the work, of which this is one; null: it is alone. No option, and not recorded.
  cluster::Ranks* ranks = nullptr;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit.group(self.text);
    visit("own_share", self.own_share);
    visit.group(self.writing);
    visit.group(self.files);
    visit.group(self.conversations);
    visit("conversations_share", self.conversations_share);
    visit.group(self.sweep);
    visit.group(self.resume);
    visit("output_file", self.output_file);
    visit("in_file", self.in_file);
    visit("process_output", self.process_output);
    visit("min_expert_tokens", self.min_expert_tokens);
    visit("dry_run", self.dry_run);
  }
};

/// A chunk that is left out, because its numbers stop being finite.
struct BrokenChunk {
  int64_t chunk = 0;  ///< from 0
  std::string place;  ///< "block 3", "the token embeddings", "what follows the last block"

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("chunk", self.chunk);
    visit("place", self.place);
  }
};

/// How a block's tokens are spread over its routed experts (ExpertCoverage).
struct BlockCoverage {
  std::string block;  ///< "blk.3"
  int64_t n_expert = 0, unseen = 0, below = 0, least = 0, least_expert = 0, median = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("block", self.block);
    visit("n_expert", self.n_expert);
    visit("unseen", self.unseen);
    visit("below", self.below);
    visit("least", self.least);
    visit("least_expert", self.least_expert);
    visit("median", self.median);
  }
};

/// What came of the text.
struct CollectedText {
  std::string order;                               ///< layer, token
  int64_t n_ctx = 0;                               ///< tokens per chunk
  int64_t n_chunks = 0;                            ///< of the text, at most `chunks` where no expert is waited for
  int64_t n_passed = 0;                            ///< chunks that passed through the model, broken ones included
  int64_t n_tokens = 0;                            ///< in this run
  double seconds = 0;                              ///< of this run
  int64_t resumed_chunks = 0, resumed_layers = 0;  ///< by an earlier run
  std::vector<BrokenChunk> broken;
  std::optional<WritingFigures> writing;  ///< of a text that the model has written
  std::optional<ConversationFigures> conversations;
  int64_t wanted_expert_tokens = 0;     ///< what `below` counts from
  std::vector<BlockCoverage> coverage;  ///< of blocks with routed experts

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("order", self.order);
    visit("n_ctx", self.n_ctx);
    visit("n_chunks", self.n_chunks);
    visit("n_passed", self.n_passed);
    visit("n_tokens", self.n_tokens);
    visit("seconds", self.seconds);
    visit("resumed_chunks", self.resumed_chunks);
    visit("resumed_layers", self.resumed_layers);
    visit("broken", self.broken);
    visit("writing", self.writing);
    visit("conversations", self.conversations);
    visit("wanted_expert_tokens", self.wanted_expert_tokens);
    visit("coverage", self.coverage);
  }
};

/// What a collection takes. Bytes, where nothing else is said.
struct ImatrixCosts {
  std::string order;  ///< layer, token
  int64_t n_tokens = 0, batch_size = 0;
  uint64_t weights = 0, weights_at_a_time = 0, activations = 0, sums = 0;
  uint64_t streams = 0, scratch = 0;  ///< activations between layers; those of them that lie in a scratch file
  double flop_per_token = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("order", self.order);
    visit("n_tokens", self.n_tokens);
    visit("batch_size", self.batch_size);
    visit("weights", self.weights);
    visit("weights_at_a_time", self.weights_at_a_time);
    visit("activations", self.activations);
    visit("sums", self.sums);
    visit("streams", self.streams);
    visit("scratch", self.scratch);
    visit("flop_per_token", self.flop_per_token);
  }
};

struct ImatrixResult {
  std::string output_file;
  int64_t n_entries = 0;                   ///< in that file
  std::optional<CollectedText> collected;  ///< with a text
  std::optional<ImatrixCosts> costs;       ///< of a dry run
  std::vector<PlanFinding> findings;       ///< about files that were merged

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("output_file", self.output_file);
    visit("n_entries", self.n_entries);
    visit("collected", self.collected);
    visit("costs", self.costs);
    visit("findings", self.findings);
  }
};

/// Error for options out of range, for outputs that cannot be written, and where all chunks are broken.
ImatrixResult imatrix(const ImatrixOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
