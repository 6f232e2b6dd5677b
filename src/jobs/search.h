// Finds a plan for a size, or for the memory of devices: what each tensor loses in each type under error feedback, what
// that does to the model's output, the types that lose least for the bytes, and whether that is so when it is measured
// (docs/search.md).
//
// Progress: "gradients", "probe" once each; those of quantize (quantize.h) for each file that is made, and "measure"
// with the data of a SearchMeasurement after it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jobs/conversation_text.h"
#include "jobs/device_options.h"
#include "jobs/fit.h"
#include "jobs/plan.h"
#include "jobs/progress.h"
#include "jobs/search_choice.h"
#include "jobs/search_steering.h"
#include "jobs/shaping.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

struct SearchOptions {
  std::string model;   ///< GGUF file, or the first of its shards
  std::string output;  ///< plan to write
  std::string report;  ///< HTML file for a report; empty: none
  TextOptions text;    ///< calibrates; the last `held_out` chunks judge. With devices, ctx_size is their context
  ConversationFiles conversations;  ///< a share of the chunks that calibrate and judge
  double conversations_share = kConversationsShare;
  PlanSource source;      ///< where the search begins; none: the largest preset that fits
  std::string imatrix;    ///< file that the plan will be used with; empty: files are calibrated
  uint64_t size = 0;      ///< bytes of the whole file, at most; 0: another limit is given
  double bpw = 0;         ///< bits per weight of tensor data, at most; 0: another limit is given
  DeviceOptions devices;  ///< whose memory the model shall fill; without `vram`: another limit is given
  SteeringOptions steering;
  /// Candidates, between commas. Like a preset, a choice of ours: those that are read at full speed, a step of quality
  /// apart.
  std::string types = "IQ1_M,IQ2_XXS,IQ2_S,IQ3_XXS,IQ3_S,IQ4_XS,Q4_K,Q5_K,Q6_K,Q8_0";
  std::string effort = "fast";  ///< ShapingOptions::effort
  int64_t held_out = 16;        ///< chunks, a quarter of the text at most
  int64_t rounds = 3;           ///< proposals that are measured
  double time = 0;              ///< seconds, at most: proposals are fewer then, one at least; 0: no limit
  /// File for what was measured: an interrupted search goes on from it, and other sizes begin with it. Empty: none.
  std::string resume;
  std::string backend = "cpu";
  uint64_t memory = 0;  ///< bytes to use; 0: most of what there is
  int threads = 0;      ///< 0: all cores

  /// Error for values out of range.
  void check() const;
  /// How files are quantized.
  ShapingOptions shaping() const;
  /// Tokens of a chunk of the text: where devices have a context, no more than are usual.
  int64_t chunk_size() const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("output", self.output);
    visit("report", self.report);
    visit.group(self.text);
    visit.group(self.conversations);
    visit("conversations_share", self.conversations_share);
    visit.group(self.source);
    visit("imatrix", self.imatrix);
    visit.bytes("size", self.size);
    visit("bpw", self.bpw);
    visit.group(self.devices);
    visit.group(self.steering);
    visit("types", self.types);
    visit("effort", self.effort);
    visit("held_out", self.held_out);
    visit("rounds", self.rounds);
    visit("time", self.time);
    visit("resume", self.resume);
    visit("backend", self.backend);
    visit.bytes("memory", self.memory);
    visit("threads", self.threads);
  }
};

/// A file that was made and measured on the held-out chunks.
struct SearchMeasurement {
  std::string plan;           ///< "start", a preset's name, or "proposal 1"
  uint64_t bytes = 0;         ///< of tensor data
  double divergence = 0;      ///< nats per token
  double same_top = 0;        ///< share of tokens
  double difference = 0;      ///< of the divergence from start's
  double standard_error = 0;  ///< of the difference, over chunks

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("plan", self.plan);
    visit("bytes", self.bytes);
    visit("divergence", self.divergence);
    visit("same_top", self.same_top);
    visit("difference", self.difference);
    visit("standard_error", self.standard_error);
  }
};

/// What one tensor in one type does, as estimated (search/loss_model.h).
struct Sensitivity {
  std::string tensor;
  std::string type;
  uint64_t bytes = 0;
  double smooth = 0;  ///< nats per token
  double jumps = 0;   ///< squared

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tensor", self.tensor);
    visit("type", self.type);
    visit("bytes", self.bytes);
    visit("smooth", self.smooth);
    visit("jumps", self.jumps);
  }
};

struct SearchResult {
  std::string output;
  std::string start;    ///< what the search began with
  uint64_t budget = 0;  ///< bytes of tensor data
  uint64_t bytes = 0;   ///< of the plan that was written
  std::string chosen;   ///< which of `measured`; "start" where nothing is better
  std::vector<SearchMeasurement> measured;
  std::optional<RuleLimit> limit;    ///< of the last proposal, where a plan must have few rules
  std::vector<FitDevice> devices;    ///< with the plan that was written
  bool has_largest_types = false;    ///< of devices: nothing larger can be chosen, whatever room is left
  std::vector<double> tensor_split;  ///< layers of several devices under it; empty: as `fit` chooses
  std::vector<Sensitivity> sensitivities;
  std::vector<PlanFinding> findings;  ///< about importance, where files are not calibrated

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("output", self.output);
    visit("start", self.start);
    visit("budget", self.budget);
    visit("bytes", self.bytes);
    visit("chosen", self.chosen);
    visit("measured", self.measured);
    visit("limit", self.limit);
    visit("devices", self.devices);
    visit("has_largest_types", self.has_largest_types);
    visit("tensor_split", self.tensor_split);
    visit("sensitivities", self.sensitivities);
    visit("findings", self.findings);
  }
};

/// Error for options out of range, a budget that no plan fits, a model without a backward pass, and as quantize.
SearchResult search(const SearchOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
