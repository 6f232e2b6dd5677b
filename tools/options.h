// Options that several subcommands take, bound to the fields of the jobs' option structs. A long flag is the field's
// name with dashes: "--ctx-size" is `ctx_size` (tests/tools/options_test.cc compares them).
#pragma once

#include <CLI/CLI.hpp>

#include "generate/sampler.h"
#include "jobs/calibration_text.h"
#include "jobs/device_options.h"
#include "jobs/model_options.h"
#include "jobs/own_text.h"
#include "jobs/plan.h"
#include "jobs/search_steering.h"
#include "jobs/shaping.h"
#include "jobs/sweep_options.h"
#include "jobs/text_options.h"
#include "jobs/threads.h"
#include "jobs/tuning.h"

namespace steelyard::tools {

using jobs::kMaxThreads;

void add_threads(CLI::App& command, int& threads);
/// An option for a size as people write it: 24GiB, 16000MB (base/byte_size.h).
CLI::Option* add_bytes(CLI::App& command, const std::string& name, uint64_t& bytes, const std::string& help);
/// An option for a time as people write it: 90, 90s, 20m, 2h.
void add_time(CLI::App& command, const std::string& name, double& seconds, const std::string& help);
/// --cache-type-k and -v.
void add_options(CLI::App& command, jobs::CacheOptions& options);
/// --tensor-split and --gpu-layers.
void add_options(CLI::App& command, jobs::PlacementOptions& options);
/// --vram, which is returned, and what of the devices' memory is needed besides weights, which needs it.
CLI::Option* add_options(CLI::App& command, jobs::DeviceOptions& options);
/// --fix, --tie and --simple.
void add_options(CLI::App& command, jobs::SteeringOptions& options);
/// --backend and --devices: names of several backends. Returns --backend.
CLI::Option* add_backends(CLI::App& command, std::vector<std::string>& backends, const std::string& help);
/// -m, --backend, --devices, --precision, --threads, placement and cache.
void add_options(CLI::App& command, jobs::ModelOptions& options);
/// --temp, --top-k, --top-p, --min-p, --repeat-penalty and --repeat-last-n.
void add_options(CLI::App& command, generate::SamplingOptions& options);
/// -b, --memory and --order.
void add_options(CLI::App& command, jobs::SweepChoice& options);
/// -f, -c, --chunks, --from-chunk and --parse-special.
void add_options(CLI::App& command, jobs::TextOptions& options);
/// --ppl-stride as well.
void add_stride(CLI::App& command, jobs::TextOptions& options);
/// --plan, --preset, a type as positional argument, as llama-quantize takes it, and what goes before their rules.
void add_options(CLI::App& command, jobs::PlanSource& options);
/// --effort and whatever else shapes the bytes of a quantized file.
void add_options(CLI::App& command, jobs::ShapingOptions& options);
/// What shapes a text that a model writes: --seed, --temp, --top-p, --chats, --excerpts.
void add_options(CLI::App& command, jobs::WritingOptions& options);
/// --steps and whatever else shapes a tuned file.
void add_options(CLI::App& command, jobs::TuningOptions& options);
/// --stop.
void add_stop(CLI::App& command, std::vector<std::string>& stop);
/// --strict.
void add_strict(CLI::App& command, bool& strict);
/// --resume and --save-every.
void add_options(CLI::App& command, jobs::ResumeOptions& options);

// ---- what is printed of results that several jobs have

/// What tuning did.
void print_tuning(const jobs::TuneResult& result);

/// --writer and --save-text.
void add_options(CLI::App& command, jobs::WriterFiles& options);
/// --conversations and --chat-template.
void add_options(CLI::App& command, jobs::ConversationFiles& options);
/// The same and --conversations-share.
void add_options(CLI::App& command, jobs::ConversationFiles& options, double& share);
/// What became of conversations.
void print_conversations(const jobs::ConversationFigures& figures);
/// How a model's own text came out.
void print_writing(const jobs::WritingFigures& figures);

}  // namespace steelyard::tools
