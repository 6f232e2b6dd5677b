#include "options.h"

#include <fmt/format.h>

#include "base/byte_size.h"
#include "base/error.h"
#include "compute/backends.h"

namespace steelyard::tools {

void add_threads(CLI::App& command, int& threads) {
  command.add_option("-t,--threads", threads, "threads; all cores by default")->check(CLI::Range(0, jobs::kMaxThreads));
}

CLI::Option* add_bytes(CLI::App& command, const std::string& name, uint64_t& bytes, const std::string& help) {
  const auto to_number = [](std::string& text) -> std::string {
    try {
      text = std::to_string(parse_bytes(text));
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  return command.add_option(name, bytes, help)->type_name("SIZE")->transform(CLI::Validator(to_number, "", "size"));
}

void add_options(CLI::App& command, jobs::CacheOptions& options) {
  command
      .add_option("--cache-type-k", options.cache_type_k,
                  "type of cached keys, or latents (-ctk): f32, f16, bf16, q8_0, q4_0")
      ->capture_default_str();
  command.add_option("--cache-type-v", options.cache_type_v, "type of cached values (-ctv)")->capture_default_str();
}

void add_options(CLI::App& command, jobs::PlacementOptions& options) {
  command
      .add_option("--tensor-split", options.tensor_split,
                  "numbers of layers on the devices in these proportions, e.g. 2,1; by default by memory (-ts)")
      ->delimiter(',');
  command
      .add_option("--gpu-layers,--n-gpu-layers", options.gpu_layers,
                  "the last so many layers are on the devices, the others on the host; by default all (-ngl)")
      ->check(CLI::NonNegativeNumber);
}

void add_options(CLI::App& command, jobs::ModelOptions& options) {
  command.add_option("model,-m,--model", options.model, "GGUF model, or the first of its shards")->required();
  add_threads(command, options.threads);
  command
      .add_option("--backend", options.backend,
                  compute::describe_backends() + "; or several, which hold layers in turn")
      ->delimiter(',')
      ->capture_default_str();
  command
      .add_option_function<std::vector<int>>(
          "--devices",
          [&options](const std::vector<int>& devices) {
            options.backend.clear();
            for (const int device : devices) options.backend.push_back(fmt::format("cuda:{}", device));
          },
          "numbers of CUDA devices: 0,1 is --backend cuda:0,cuda:1")
      ->delimiter(',');
  add_options(command, options.placement);
  command
      .add_option("--precision", options.precision,
                  "exact: activations as good as in F32; fast: in integers of 8 bits, 16 for weights that are floats")
      ->capture_default_str();
  add_options(command, options.cache);
}

void add_options(CLI::App& command, jobs::SweepChoice& options) {
  command.add_option("-b,--batch-size", options.batch_size, "tokens per batch: several chunks, or a part of one")
      ->capture_default_str();
  add_bytes(command, "--memory", options.memory,
            "memory to use, e.g. 8GiB, weights in use included; by default most of what there is");
  command
      .add_option("--order", options.order,
                  "layer: all text through one layer after the other, which reads the model once; token: all layers "
                  "for one batch after the other; by default layer where the model exceeds --memory")
      ->check(CLI::IsMember({"layer", "token"}));
}

void add_options(CLI::App& command, jobs::TextOptions& options) {
  command.add_option("-f,--file", options.file, "text");
  command.add_option("-c,--ctx-size", options.ctx_size, "tokens per chunk")->capture_default_str();
  command.add_option("--chunks", options.chunks, "at most this many chunks");
  command.add_option("--chunk,--from-chunk", options.from_chunk, "skip so many chunks at the beginning of the text")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--parse-special", options.parse_special, "text such as <|user|> becomes the token of that name");
}

void add_stride(CLI::App& command, jobs::TextOptions& options) {
  command.add_option("--ppl-stride", options.ppl_stride,
                     "chunks begin every N tokens and score their last N; 0: no overlap");
}

void add_options(CLI::App& command, jobs::PlanSource& options) {
  command.add_option("type", options.type,
                     "instead of --plan: one type for all tensors (Q8_0, BF16), a preset (Q4_K_M) or its number (15), or COPY");
  command.add_option("--plan", options.plan, "plan file: REGEX = TYPE per line, * = TYPE is the base");
  command.add_option("--preset", options.preset, "a plan from plans/presets by name, e.g. Q4_K_M");
  command.add_option("--tensor-type", options.tensor_type, "REGEX=TYPE, goes before the plan's rules; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--tensor-type-file", options.tensor_type_file,
                     "file of REGEX=TYPE, which go after those of --tensor-type");
  command.add_option("--token-embedding-type", options.token_embedding_type,
                     "type of token_embd.weight, before all rules");
  command.add_option("--output-tensor-type", options.output_tensor_type, "type of output.weight, before all rules");
  command.add_flag("--leave-output-tensor", options.leave_output_tensor,
                   "keep output.weight as it is, before all rules");
  command.add_flag("--pure", options.pure, "use the base of the plan or preset for all tensors, none of its rules");
}

void add_options(CLI::App& command, jobs::ShapingOptions& options) {
  command.add_option("--effort", options.effort, "fast, normal or best: how much search for less error")
      ->check(CLI::IsMember({"fast", "normal", "best"}))
      ->capture_default_str();
  command
      .add_option("--prior-weight", options.prior_weight, "inputs that a layer's mean weighs in an expert's importance")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--include-weights", options.include_weights, "use importance of tensors with TEXT in their name")
      ->allow_extra_args(false);
  command
      .add_option("--exclude-weights", options.exclude_weights, "use no importance of tensors with TEXT in their name")
      ->allow_extra_args(false);
  command.add_option("--override-kv", options.override_kv, "KEY=TYPE:VALUE, TYPE int, float, bool or str")
      ->allow_extra_args(false);
  command.add_option("--prune-layers", options.prune_layers, "take blocks out: 3,7-9");
  command.add_flag("--allow-requantize", options.allow_requantize, "quantize what is quantized already");
  command.add_option("-c,--ctx-size", options.ctx_size, "with --calibrate: tokens per chunk")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  command.add_option("--chunks", options.chunks, "with --calibrate: at most this many chunks")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  auto* size =
      add_bytes(command, "--split-max-size", options.split_max_size, "cut the result into shards of 2GiB, 500MB, ...")
          ->check(CLI::PositiveNumber);
  command.add_flag("--keep-split", options.keep_split, "cut the result into shards where the source is cut")
      ->excludes(size);
}

void add_strict(CLI::App& command, bool& strict) {
  command.add_flag("--strict", strict, "treat warnings about plan and importance as errors");
}

void add_options(CLI::App& command, jobs::ResumeOptions& options) {
  command.add_option("--resume", options.resume, "keep progress in this file, and go on from it if it is there");
  command.add_option("--save-every", options.save_every, "seconds between two saves of progress; 0: after every step")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

}  // namespace steelyard::tools
