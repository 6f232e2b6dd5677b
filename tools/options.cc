#include "options.h"

#include <fmt/format.h>

#include <map>

#include "base/byte_size.h"
#include "base/error.h"
#include "compute/backends.h"
#include "progress_line.h"

namespace steelyard::tools {

void add_threads(CLI::App& command, int& threads) {
  command.add_option("-t,--threads", threads, "number of threads; default: all cores")
      ->check(CLI::Range(0, jobs::kMaxThreads));
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

void add_time(CLI::App& command, const std::string& name, double& seconds, const std::string& help) {
  command.add_option(name, seconds, help)
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"m", 60}, {"h", 3600}}));
}

void add_options(CLI::App& command, jobs::CacheOptions& options) {
  command
      .add_option("--cache-type-k", options.cache_type_k,
                  "type of the KV cache's keys, or latents (-ctk): f32, f16, bf16, q8_0, q4_0")
      ->capture_default_str();
  command
      .add_option("--cache-type-v", options.cache_type_v,
                  "type of the KV cache's values "
                  "(-ctv)")
      ->capture_default_str();
}

void add_options(CLI::App& command, jobs::PlacementOptions& options) {
  command
      .add_option("--tensor-split", options.tensor_split,
                  "proportions of layers per device, e.g. 2,1; default: by memory (-ts)")
      ->delimiter(',');
  command
      .add_option("--gpu-layers,--n-gpu-layers", options.gpu_layers,
                  "number of layers on the devices, counted from the last; the others stay on the host; default: all "
                  "(-ngl)")
      ->check(CLI::NonNegativeNumber);
}

CLI::Option* add_options(CLI::App& command, jobs::DeviceOptions& options) {
  auto* vram =
      command.add_option("--vram", options.vram, "memory of each device: 24GiB, 24GiBx6, or a list: 24GiBx2,16GiB");
  const size_t n_before = command.get_options().size();
  add_options(command, options.cache);
  command.add_option("--sequences", options.sequences, "number of parallel sequences, each with this context")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command.add_option("-b,--batch-size", options.batch_size, "prompt tokens per batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add_options(command, options.placement);
  add_bytes(command, "--reserve", options.reserve, "memory per device that is reserved for driver and libraries")
      ->default_str("512MiB");
  const std::vector<CLI::Option*> all = command.get_options({});
  for (size_t i = n_before; i < all.size(); ++i) all[i]->needs(vram);
  return vram;
}

void add_options(CLI::App& command, jobs::SteeringOptions& options) {
  command
      .add_option("--fix", options.fix,
                  "REGEX=TYPE: these tensors get this type, and nothing is chosen for them; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--tie", options.tie, "one type for gate and up of a layer");
  command.add_option("--simple", options.simple, "rules of the plan that is found, at most; default: any number")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
}

CLI::Option* add_backends(CLI::App& command, std::vector<std::string>& backends, const std::string& help) {
  CLI::Option* const named = command.add_option("--backend", backends, help)->delimiter(',')->capture_default_str();
  command
      .add_option_function<std::vector<int>>(
          "--devices",
          [&backends](const std::vector<int>& devices) {
            backends.clear();
            for (const int device : devices) backends.push_back(fmt::format("cuda:{}", device));
          },
          "CUDA device numbers: 0,1 means --backend cuda:0,cuda:1")
      ->delimiter(',');
  return named;
}

void add_options(CLI::App& command, jobs::ModelOptions& options) {
  command.add_option("model,-m,--model", options.model, "GGUF model, or the first of its shards")->required();
  add_threads(command, options.threads);
  add_backends(command, options.backend,
               compute::describe_backends() + "; or a comma-separated list, each for a range of layers");
  add_options(command, options.placement);
  command
      .add_option("--precision", options.precision,
                  "exact: activations with the accuracy of F32; fast: activations rounded to 8-bit integers (16-bit "
                  "for F16 and BF16 weights)")
      ->capture_default_str();
  add_options(command, options.cache);
}

void add_options(CLI::App& command, generate::SamplingOptions& sampling) {
  command.add_option("--temp", sampling.temperature, "temperature; 0: always the most likely token")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "sample from the k most likely tokens; 0: all")->capture_default_str();
  command
      .add_option("--top-p", sampling.top_p,
                  "sample from the most likely tokens that together have this "
                  "probability; 1: all")
      ->capture_default_str();
  command
      .add_option("--min-p", sampling.min_p,
                  "sample from tokens with at least this share of the most likely "
                  "token's probability; 0: all")
      ->capture_default_str();
  command.add_option("--repeat-penalty", sampling.repeat_penalty, "penalty for repeated tokens; 1: none")
      ->capture_default_str();
  command.add_option("--repeat-last-n", sampling.repeat_last_n, "number of last tokens that are penalised; -1: all")
      ->capture_default_str();
}

void add_options(CLI::App& command, jobs::SweepChoice& options) {
  command.add_option("-b,--batch-size", options.batch_size, "tokens per batch (several chunks, or a part of one)")
      ->capture_default_str();
  add_bytes(command, "--memory", options.memory,
            "memory limit, including weights in use, e.g. 8GiB; default: four fifths of the memory");
  command
      .add_option("--order", options.order,
                  "layer: pass all text through one layer before the next (reads the model once); token: pass each "
                  "batch through all layers; default: layer if the model exceeds --memory")
      ->check(CLI::IsMember({"layer", "token"}));
}

void add_options(CLI::App& command, jobs::TextOptions& options) {
  command.add_option("-f,--file", options.file, "text file; -: standard input");
  command.add_option("-c,--ctx-size", options.ctx_size, "tokens per chunk")->capture_default_str();
  command.add_option("--chunks", options.chunks, "maximum number of chunks");
  command.add_option("--chunk,--from-chunk", options.from_chunk, "skip so many chunks at the beginning of the text")
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--parse-special", options.parse_special,
                   "read text such as <|user|> as the special token of that "
                   "name");
}

void add_stride(CLI::App& command, jobs::TextOptions& options) {
  command.add_option("--ppl-stride", options.ppl_stride,
                     "overlapping chunks: one every N tokens, each scores its last N; 0: no overlap");
}

void add_options(CLI::App& command, jobs::PlanSource& options) {
  command.add_option(
      "type", options.type,
      "instead of --plan: one type for all tensors (Q8_0, BF16), a preset (Q4_K_M) or its number (15), or COPY");
  command.add_option("--plan", options.plan,
                     "plan file: lines REGEX = TYPE, the first match decides; * = TYPE is the "
                     "base");
  command.add_option("--preset", options.preset, "preset plan by name, e.g. Q4_K_M");
  command
      .add_option("--tensor-type", options.tensor_type,
                  "REGEX=TYPE, a rule before those of the plan; may be "
                  "repeated")
      ->allow_extra_args(false);
  command.add_option("--tensor-type-file", options.tensor_type_file,
                     "file of REGEX=TYPE rules, applied after --tensor-type and before the plan");
  command.add_option("--token-embedding-type", options.token_embedding_type,
                     "type of token_embd.weight; overrides all rules");
  command.add_option("--output-tensor-type", options.output_tensor_type, "type of output.weight; overrides all rules");
  command.add_flag("--leave-output-tensor", options.leave_output_tensor,
                   "keep the type of output.weight; overrides all rules");
  command.add_flag("--pure", options.pure, "use only the base of the plan or preset, none of its rules");
}

void add_options(CLI::App& command, jobs::ShapingOptions& options) {
  command.add_option("--effort", options.effort, "how much the encoders search: fast, normal or best")
      ->check(CLI::IsMember({"fast", "normal", "best"}))
      ->capture_default_str();
  command
      .add_option("--prior-weight", options.prior_weight, "pseudo-count of the layer mean in an expert's importance")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--include-weights", options.include_weights,
                  "use only importance entries whose name contains "
                  "TEXT; may be repeated")
      ->allow_extra_args(false);
  command
      .add_option("--exclude-weights", options.exclude_weights,
                  "ignore importance entries whose name contains TEXT; "
                  "may be repeated")
      ->allow_extra_args(false);
  command
      .add_option("--override-kv", options.override_kv,
                  "set metadata: KEY=TYPE:VALUE with TYPE int, float, bool or "
                  "str; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--prune-layers", options.prune_layers, "remove these blocks, e.g. 3,7-9");
  command.add_flag("--allow-requantize", options.allow_requantize, "allow a source that is already quantized");
  command.add_option("-c,--ctx-size", options.ctx_size, "with --calibrate: tokens per chunk")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  command
      .add_option("--chunks", options.chunks,
                  "with --calibrate: maximum number of chunks; default: enough for the model")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--own-share", options.own_share,
                  "with --calibrate self+FILE: share of the chunks that the model writes")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_options(command, options.writing);
  auto* size = add_bytes(command, "--split-max-size", options.split_max_size,
                         "split the result into shards of at most this "
                         "size: 2GiB, 500MB, ...")
                   ->check(CLI::PositiveNumber);
  command.add_flag("--keep-split", options.keep_split, "split the result into shards as the source is split")
      ->excludes(size);
}

void add_options(CLI::App& command, jobs::TuningOptions& options) {
  command.add_option("--steps", options.steps, "tuning: number of steps")->capture_default_str();
  command.add_option("--step-chunks", options.step_chunks, "tuning: chunks of text per step")->capture_default_str();
  command
      .add_option("--held-out", options.held_out,
                  "tuning: chunks at the end of the text that decide which step is best; a quarter of the text at most")
      ->capture_default_str();
  command.add_option("--compare-every", options.compare_every, "tuning: steps between two comparisons on them")
      ->capture_default_str();
  command
      .add_option("--rate-vectors", options.rate_vectors,
                  "tuning: step size of norms, biases and sinks: what a step changes of the divergence, as a part of "
                  "it, at most, for a divergence of 1; 0: they stay")
      ->capture_default_str();
  command.add_option("--rate-routers", options.rate_routers, "tuning: step size of routers, in the same parts")
      ->capture_default_str();
  command.add_option("--rate-scales", options.rate_scales, "tuning: step size of block scales, in the same parts")
      ->capture_default_str();
  command
      .add_option("--tune-seed", options.tune_seed, "tuning: seed of the order of chunks; -1: another one each time")
      ->capture_default_str();
}

void add_options(CLI::App& command, jobs::WritingOptions& options) {
  command
      .add_option("-s,--seed", options.seed,
                  "seed of the text; the same seed gives the same text; -1: another one each time")
      ->capture_default_str();
  command.add_option("--temp", options.temp, "temperature; 1: the model's own distribution")->capture_default_str();
  command.add_option("--top-p", options.top_p, "write with the most likely tokens that together have this probability")
      ->capture_default_str();
  command
      .add_option("--chats", options.chats,
                  "share of texts that begin with the markup of a chat, if the model's template has one that is known")
      ->capture_default_str();
  command
      .add_option("--excerpts", options.excerpts,
                  "share of texts that begin with an excerpt of a text, which the model goes on with")
      ->capture_default_str();
  command.add_option("--excerpts-of", options.excerpts_of,
                     "text for --excerpts; default: the calibration text that comes with the program");
}

void add_options(CLI::App& command, jobs::WriterFiles& options) {
  command.add_option("--writer", options.writer,
                     "with self: file that writes the text, a smaller one of the same model; default: the model");
  command.add_option("--save-text", options.save_text,
                     "with self: keep the text in this file, as steelyard write does");
}

void add_strict(CLI::App& command, bool& strict) {
  command.add_flag("--strict", strict, "treat warnings about the plan and the importance matrix as errors");
}

void add_options(CLI::App& command, jobs::ResumeOptions& options) {
  command.add_option("--resume", options.resume, "progress file: continue from it if it exists");
  command
      .add_option("--save-every", options.save_every,
                  "minimum seconds between saves of progress; 0: after every "
                  "step")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
}

void print_tuning(const jobs::TuneResult& result) {
  if (result.resumed_steps > 0) print_out("continued after {} steps of an earlier run\n", result.resumed_steps);
  print_out("tuned {} numbers of {} tensors: KL divergence on held-out text\n", result.n_parameters, result.n_tensors);
  for (const jobs::TuneComparison& at : result.comparisons) {
    print_out("  after {:4} steps {:9.6f}{}\n", at.step, at.divergence, at.step == result.best_step ? "  kept" : "");
  }
  if (result.best_step == 0)
    print_out("nothing was better than the file as it was: {} is a copy of it\n", result.output);
  else
    print_out("divergence {:.6f} -> {:.6f} ({:.3f})\n", result.divergence_before, result.divergence,
              result.divergence / result.divergence_before);
}

void add_stop(CLI::App& command, std::vector<std::string>& stop) {
  command.add_option("--stop", stop, "stop string, not printed; may be repeated")->allow_extra_args(false);
}

void add_options(CLI::App& command, jobs::ConversationFiles& options, double& share) {
  add_options(command, options);
  command
      .add_option("--conversations-share", share,
                  "with text and --conversations: share of the chunks that are conversations")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

void add_options(CLI::App& command, jobs::ConversationFiles& options) {
  command.add_option(
      "--conversations", options.conversations,
      "conversations, as JSON lines of {\"messages\": [...], \"tools\": [...]}; rendered with the model's "
      "chat template");
  command.add_option("--chat-template", options.chat_template, "file with a chat template, instead of the model's own");
}

void print_conversations(const jobs::ConversationFigures& figures) {
  print_out("{} conversations have {} tokens", figures.n_conversations - figures.n_refused, figures.n_tokens);
  if (figures.n_chunks > 0) print_out("; {} chunks of the text are conversations", figures.n_chunks);
  print_out("\n");
  if (figures.n_refused > 0) {
    print_out("{} conversations are left out, because the template refuses them; {}\n", figures.n_refused,
              figures.refusal);
  }
}

void print_writing(const jobs::WritingFigures& figures) {
  if (figures.resumed_chunks > 0) print_out("continued after {} chunks of an earlier run\n", figures.resumed_chunks);
  if (figures.n_tokens > 0) {
    print_out("wrote {} tokens in {:.1f} s, {:.0f} tokens/s, {} chunks at a time\n", figures.n_tokens, figures.seconds,
              static_cast<double>(figures.n_tokens) / figures.seconds, figures.parallel);
  }
  const auto share = [&](int64_t n) { return 100.0 * static_cast<double>(n) / static_cast<double>(figures.n_texts); };
  print_out("{} chunks hold {} texts: the model ended {:.0f} %, {:.0f} % were cut because they repeated themselves\n",
            figures.n_chunks, figures.n_texts, share(figures.n_ended), share(figures.n_looped));
}

}  // namespace steelyard::tools
