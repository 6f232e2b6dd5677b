// Model + plan (+ importance, + calibration text) → GGUF. What can be known to be wrong is refused before the first
// byte; a run that is interrupted can be taken up (docs/quantize.md).
//
// Progress:
//   "plan"       once, when nothing more can be refused before the work: all of the result but what writing adds to it
//   "write"      where the model writes its calibration text: `done` of `total` chunks
//   "calibrate"  often, while the calibration text passes through a layer: `item` is the layer; there is no `total`
//   "teacher", "tuning", "tune"  where the result is tuned (tuning.h)
//   "encode"     often: `done` of `total` weights; `item` is the tensor at work, "[3/70] blk.0.ffn_up.weight"
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/calibrated_layers.h"
#include "cluster/ranks.h"
#include "jobs/calibration_costs.h"
#include "jobs/calibration_text.h"
#include "jobs/device_options.h"
#include "jobs/plan.h"
#include "jobs/search_steering.h"
#include "jobs/shaping.h"
#include "jobs/tuning.h"

namespace steelyard::jobs {

struct QuantizeOptions {
  std::string model;   ///< GGUF file, or the first of its shards
  std::string output;  ///< GGUF file to write; may be empty in a dry run
  PlanSource source;
  ShapingOptions shaping;
  std::string imatrix;              ///< importance file; empty: none
  std::string calibrate;            ///< text for the layers while they are quantized (TextSource); empty: none
  WriterFiles files;                ///< of a text that the model writes
  ConversationFiles conversations;  ///< for the layers as well; with `calibrate` a share of the chunks
  uint64_t size = 0;      ///< bytes of the file at most: its plan is searched (quantize_to_size.h); 0: `source` says it
  DeviceOptions devices;  ///< instead of `size`: the memory of devices; shaping.ctx_size is then their context
  SteeringOptions steering;  ///< of the plan that is searched
  bool tune = false;         ///< afterwards, on the same text (tuning.h)
  TuningOptions tuning;
  std::string from;  ///< file to make again: plan and shaping options are in its metadata
  /// Where rows are encoded and the calibration text passes, all at the same time: cpu, cuda, cuda:N.
  std::vector<std::string> backend = {"cpu"};
  uint64_t slab = uint64_t{1} << 30;          ///< bytes for weights on their way, at most
  uint64_t memory = 0;                        ///< of calibration: bytes to use; 0: most of what there is
  int threads = 0;                            ///< 0: all cores
  bool dry_run = false;                       ///< decide and check, write nothing
  bool resume = false;                        ///< go on after an interrupted run onto the same file
  bool restart = false;                       ///< discard what an interrupted run left
  bool verify = false;                        ///< read the result back from the disk before it gets its name
  bool strict = false;                        ///< warnings about plan and importance are errors
  const calibrate::Trials* trials = nullptr;  ///< of calibration: other types to try on the way; no option of a user's

  /// Processes that share the work, of which this is one; null: it is alone. No option, and not recorded.
  cluster::Ranks* ranks = nullptr;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("output", self.output);
    visit.group(self.source);
    visit.group(self.shaping);
    visit("imatrix", self.imatrix);
    visit("calibrate", self.calibrate);
    visit.group(self.files);
    visit.group(self.conversations);
    visit.bytes("size", self.size);
    visit.group(self.devices);
    visit.group(self.steering);
    visit("tune", self.tune);
    visit.group(self.tuning);
    visit("from", self.from);
    visit("backend", self.backend);
    visit.bytes("slab", self.slab);
    visit.bytes("memory", self.memory);
    visit("threads", self.threads);
    visit("dry_run", self.dry_run);
    visit("resume", self.resume);
    visit("restart", self.restart);
    visit("verify", self.verify);
    visit("strict", self.strict);
  }

  /// Whether something passes through the layers.
  bool calibrates() const { return !calibrate.empty() || conversations.given(); }
};

/// How one tensor was rounded with a calibration text (RoundingReport): of its slices, by way of rounding.
struct RoundedTensor {
  std::string name;
  std::vector<double> loss;     ///< [ldlq, diagonal, plain] of the outputs on held-out text, mean over slices
  std::vector<int64_t> chosen;  ///< [ldlq, diagonal, plain] slices rounded so

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name);
    visit("loss", self.loss);
    visit("chosen", self.chosen);
  }
};

/// Where the seconds of a calibrated run went, reading and writing the model's own text left out.
struct QuantizeTimes {
  double forward = 0;  ///< the text's way through both models
  double moments = 0;  ///< sums over the inputs of linears
  double factors = 0;  ///< of Hessians, and what is corrected with them
  double search = 0;   ///< error feedback, codes and scales, and the comparison of results
  double write = 0;    ///< all else: hashes, disk, tensors outside of layers

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("forward", self.forward);
    visit("moments", self.moments);
    visit("factors", self.factors);
    visit("search", self.search);
    visit("write", self.write);
  }
};

/// The same of a stage of a layer, whose linears are rounded together, or of the text's step to the next layer.
struct QuantizeStage {
  int layer = 0;
  std::string stage;  ///< "mixer input", "FFN output", ...; "advance"
  double forward = 0, moments = 0, factors = 0, search = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("layer", self.layer);
    visit("stage", self.stage);
    visit("forward", self.forward);
    visit("moments", self.moments);
    visit("factors", self.factors);
    visit("search", self.search);
  }
};

/// What has rounded matrices of a calibrated run: a device, or so many threads of the processor ("cpu x2").
struct QuantizeWorker {
  std::string name;
  int64_t matrices = 0;
  double seconds = 0;  ///< of all workers of this name together

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name);
    visit("matrices", self.matrices);
    visit("seconds", self.seconds);
  }
};

struct QuantizeResult {
  PlanResult plan;
  std::string instruction_set;  ///< of the encoders on the processor
  int threads = 0;
  std::vector<std::string> on_device;  ///< types that a device of `backend` encodes
  std::vector<std::string>
      on_processor;                ///< types that it leaves to the processor; both empty where there is no device
  std::vector<std::string> paths;  ///< of the files written; none in a dry run
  uint64_t bytes = 0;              ///< of all of them
  double bits_per_weight = 0;      ///< of tensor data
  std::optional<WritingFigures> writing;  ///< of a calibration text that the model has written
  std::optional<ConversationFigures> conversations;
  std::vector<RoundedTensor> rounding;  ///< with a calibration text
  /// What outputs lose on held-out chunks with half of the calibration text, over what they lose with all of it: how
  /// much its last doubling has brought. 0: not known.
  double half_text_loss = 0;
  std::optional<QuantizeTimes> times;     ///< with a calibration text
  std::vector<QuantizeStage> stages;      ///< with a calibration text: what the times are made of, but for `write`
  std::vector<QuantizeWorker> workers;    ///< with a calibration text
  std::optional<CalibrationCosts> costs;  ///< of a dry run with a calibration text
  std::optional<TuneResult> tuning;
  std::vector<PlanFinding> findings;  ///< what only the encoded weights show: some that became zero

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("plan", self.plan);
    visit("instruction_set", self.instruction_set);
    visit("threads", self.threads);
    visit("on_device", self.on_device);
    visit("on_processor", self.on_processor);
    visit("paths", self.paths);
    visit("bytes", self.bytes);
    visit("bits_per_weight", self.bits_per_weight);
    visit("writing", self.writing);
    visit("conversations", self.conversations);
    visit("rounding", self.rounding);
    visit("half_text_loss", self.half_text_loss);
    visit("times", self.times);
    visit("stages", self.stages);
    visit("workers", self.workers);
    visit("costs", self.costs);
    visit("tuning", self.tuning);
    visit("findings", self.findings);
  }
};

/// Error for options out of range, for whatever preflight finds (quantize/preflight.h), for a target that cannot be
/// written or is at work elsewhere, and for a file to make again that would come out otherwise.
QuantizeResult quantize(const QuantizeOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
