// Options that shape the bytes of a quantized file and stand in no plan. All of them are recorded in the file, defaults
// too, because another version may have others. A new one is a field here, and a flag in tools/options.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/format.h"
#include "imatrix/imatrix.h"
#include "jobs/conversation_text.h"
#include "jobs/json.h"
#include "jobs/own_text.h"
#include "quantize/edits.h"
#include "quantize/shards.h"

namespace steelyard::jobs {

struct ShapingOptions {
  std::string effort = "normal";                       ///< fast, normal, best: how much search for less error
  double prior_weight = imatrix::kDefaultPriorWeight;  ///< Imatrix::prior_weight
  std::vector<std::string> include_weights;            ///< use importance of tensors with these texts in their name
  std::vector<std::string> exclude_weights;            ///< use none of these
  std::vector<std::string> override_kv;                ///< KEY=TYPE:VALUE
  std::string prune_layers;                            ///< blocks to take out: "3,7-9"
  bool allow_requantize = false;                       ///< quantize what is quantized already
  int64_t ctx_size = 512;                              ///< of calibration: tokens per chunk
  int64_t chunks = 0;                                  ///< of calibration: at most so many; 0: enough_chunks()
  double own_share = 0.75;                             ///< of calibration with self+FILE: chunks that are self
  WritingOptions writing;                              ///< of calibration with self: the text
  double conversations_share = kConversationsShare;    ///< of calibration with conversations: chunks that are
  uint64_t split_max_size = 0;                         ///< tensor bytes of a shard at most; 0: one file
  bool keep_split = false;                             ///< shards as the source has them

  /// Error for values out of range.
  void check() const;

  formats::Effort chosen_effort() const;
  quantize::Edits edits() const { return {override_kv, prune_layers}; }
  quantize::Split split() const { return {split_max_size, keep_split}; }

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("effort", self.effort);
    visit("prior_weight", self.prior_weight);
    visit("include_weights", self.include_weights);
    visit("exclude_weights", self.exclude_weights);
    visit("override_kv", self.override_kv);
    visit("prune_layers", self.prune_layers);
    visit("allow_requantize", self.allow_requantize);
    visit("ctx_size", self.ctx_size);
    visit("chunks", self.chunks);
    visit("own_share", self.own_share);
    visit.group(self.writing);
    visit("conversations_share", self.conversations_share);
    visit.bytes("split_max_size", self.split_max_size);
    visit("keep_split", self.keep_split);
  }
};

/// As recorded under `steelyard.options`. Error for text that is not UTF-8, which JSON cannot hold.
std::string recorded_options(const ShapingOptions& options);

/// What recorded_options() has written; `where`: the file, for messages. Error for anything else.
ShapingOptions read_options(const std::string& recorded, const std::string& where);

/// What version 0.1.0 has recorded under `steelyard.arguments`: flags as on the command line, "--effort=best", those
/// with several values repeated, sizes in bytes. Error for a flag that it did not have.
ShapingOptions read_arguments(const std::vector<std::string>& arguments, const std::string& where);

}  // namespace steelyard::jobs
