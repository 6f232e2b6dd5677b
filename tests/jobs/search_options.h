// A small search that tests of jobs share.
#pragma once

#include <string>

#include "jobs/search.h"
#include "support.h"

namespace steelyard::jobs {

/// Of a golden model, for a quarter more bytes than all in `start`; writes found.plan in `folder`.
inline SearchOptions small_search(const std::string& golden_model, const test::TempFolder& folder,
                                  const std::string& start, const std::string& types) {
  SearchOptions options;
  options.model = test::golden("models/" + golden_model + "/model.gguf");
  options.output = folder / "found.plan";
  options.text = {.file = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt", .ctx_size = 64, .chunks = 24};
  options.source.type = start;
  options.types = types;
  PlanOptions all;
  all.model = options.model;
  all.source = options.source;
  options.bpw = 1.25 * plan(all).bits_per_weight;
  options.held_out = 6;
  options.threads = 2;
  return options;
}

}  // namespace steelyard::jobs
