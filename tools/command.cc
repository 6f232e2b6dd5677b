#include "command.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/parallel.h"

namespace steelyard::tools {

void PlanOptions::add_to(CLI::App& command) {
  command.add_option("--plan", plan_, "plan file: REGEX = TYPE per line, * = TYPE is the base");
  command.add_option("--preset", preset_, "a plan from plans/presets by name, e.g. Q4_K_M");
  command.add_option("--tensor-type", tensor_types_, "REGEX=TYPE, goes before the plan's rules; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--token-embedding-type", token_embedding_type_, "type of token_embd.weight");
  command.add_option("--output-tensor-type", output_tensor_type_, "type of output.weight");
}

Plan PlanOptions::load(const std::string& positional) const {
  if (int{!plan_.empty()} + int{!preset_.empty()} + int{!positional.empty()} != 1) {
    fail("", "give one of --plan FILE, --preset NAME or a type");
  }
  const char* folder = std::getenv("STEELYARD_PLANS");
  const std::string plans = folder != nullptr ? folder : STEELYARD_PLANS_DIR;
  const Format* uniform = find_format(positional);
  Plan plan = !plan_.empty()    ? Plan::load(plan_)
              : uniform         ? Plan::uniform(uniform->type)
                                : Plan::preset(plans, preset_.empty() ? positional : preset_);
  std::vector<PlanRule> rules;
  const auto add = [&](const std::string& rule) { rules.push_back(Plan::parse_rule(rule, "command line")); };
  for (const std::string& rule : tensor_types_) add(rule);
  if (!token_embedding_type_.empty()) add("^token_embd\\.weight$ = " + token_embedding_type_);
  if (!output_tensor_type_.empty()) add("^output\\.weight$ = " + output_tensor_type_);
  plan.prepend(rules);
  return plan;
}

void ModelOptions::add_to(CLI::App& command) {
  command.add_option("-m,--model", path_, "GGUF model, or the first of its shards")->required();
  command.add_option("-t,--threads", threads_, "threads; all cores by default")->check(CLI::Range(0, kMaxThreads));
  command.add_option("--backend", backend_name_, "cpu, or ref: the slow specification")->capture_default_str();
}

void ModelOptions::open() {
  set_thread_count(threads_);
  reader_.emplace(path_);
  backend_ = make_backend(backend_name_);
  model_.emplace(*reader_, *backend_);
}

void TextOptions::add_to(CLI::App& command) {
  command.add_option("-f,--file", path_, "text");
  command.add_option("-c,--ctx-size", n_ctx_, "tokens per chunk")->capture_default_str();
  command.add_option("--chunks", max_chunks_, "at most this many chunks");
  command.add_flag("--parse-special", parse_special_, "text such as <|user|> becomes the token of that name");
}

Chunks TextOptions::chunks(const Tokenizer& tokenizer) const {
  return Chunks(tokenize_file(tokenizer, path_, parse_special_), n_ctx_, max_chunks_, chunk_bos(tokenizer), path_);
}

std::optional<Imatrix> load_imatrix(const std::string& path) {
  return path.empty() ? std::nullopt : std::optional(Imatrix::load(path));
}

void check_output(const std::string& path, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    std::error_code ignored;  // a file that does not exist is equivalent to nothing
    if (std::filesystem::equivalent(path, input, ignored)) fail(path, "is also the input {}", input);
  }
  const AtomicFile probe(path);
}

bool interactive() { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace steelyard::tools
