#include "jobs/quantize_to_size.h"

#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/output_target.h"
#include "base/temporary_file.h"
#include "base/text_file.h"
#include "jobs/outputs.h"
#include "jobs/quantize_devices.h"
#include "jobs/search.h"

namespace steelyard::jobs {

QuantizeResult quantize_to_size(const QuantizeOptions& options, const ProgressCallback& progress) {
  if (options.output.empty()) fail("", "no output file given");
  const std::string_view limit = options.size > 0 ? "--size" : "--vram";
  if (options.calibrate.empty()) fail("", "{} needs a text: --calibrate FILE", limit);
  if (TextSource::parse(options.calibrate).own)
    fail("", "{} needs a text file; the model's own cannot be searched on", limit);
  if (!options.from.empty()) fail("", "{} and --from cannot be combined", limit);
  if (!options.imatrix.empty()) fail("", "{} calibrates: leave out --imatrix", limit);
  if (options.dry_run) fail("", "{} and --dry-run cannot be combined: steelyard search writes the plan alone", limit);
  if (!options.shaping.prune_layers.empty())
    fail("", "{} and --prune-layers cannot be combined: prune the layers in a separate run first", limit);
  check_output(options.output, {options.model, options.calibrate, options.conversations.conversations,
                                options.conversations.chat_template});
  const RereadableText text(options.calibrate);
  SearchOptions search_options;
  search_options.model = options.model;
  search_options.output = name_beside(options.output, ".plan");
  search_options.text = {.file = text.path(), .ctx_size = options.shaping.ctx_size, .chunks = options.shaping.chunks};
  search_options.conversations = options.conversations;
  search_options.conversations_share = options.shaping.conversations_share;
  search_options.source = options.source;
  search_options.size = options.size;
  search_options.devices = options.devices;
  search_options.steering = options.steering;
  search_options.backend = QuantizeDevices::first_of(options.backend);
  search_options.memory = options.memory;
  search_options.threads = options.threads;
  search_options.resume = name_beside(options.output, ".search");
  if (!options.resume) remove_file(search_options.resume);
  if (!options.resume || !std::filesystem::exists(search_options.output)) search(search_options, progress);
  remove_file(search_options.resume);
  QuantizeOptions by_plan = options;
  by_plan.calibrate = text.path();
  by_plan.size = 0;
  by_plan.devices = {};
  by_plan.steering = {};
  by_plan.shaping.ctx_size = search_options.chunk_size();
  by_plan.source = {.plan = search_options.output};
  return quantize(by_plan, progress);
}

}  // namespace steelyard::jobs
