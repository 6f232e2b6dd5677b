#include "jobs/run.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "generate/generator.h"
#include "jobs/chat.h"
#include "jobs/given_options.h"
#include "jobs/seeds.h"

namespace steelyard::jobs {
namespace {

// Of a dialogue, and of an answer without a limit, whose need is not known beforehand.
constexpr int64_t kUnknownNeed = 4096;
constexpr int64_t kNoLimit = -1;  // of n_predict

constexpr int64_t kUsualAnswer = 64;

int64_t answer_size(const RunOptions& options) {
  return options.n_predict.value_or(options.chat ? kNoLimit : kUsualAnswer);
}

void check(const RunOptions& options) {
  if (options.chat)
    refuse_given(options, {"no_special", "show_special"}, "with --chat");
  else
    refuse_given(options, names_of<TemplateOptions>(), "without --chat");
  if (answer_size(options) < 1 && answer_size(options) != kNoLimit)
    fail("", "-n must be at least 1, or -1 for no limit");
  if (options.ctx_size < 0) fail("", "-c must be at least 1");
  if (options.batch_size < 1) fail("", "-b must be at least 1");
  check(options.sampling);
}

std::string read_prompt(const RunOptions& options) {
  if (options.file.empty()) {
    check_text(options.prompt, "--prompt");
    return options.prompt;
  }
  std::string text = read_text_file(options.file);
  if (!options.prompt.empty()) fail("", "--prompt and --file cannot be combined");
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

// BOS goes before text that begins the context. EOS, which some models want after a text, would end the text to
// continue.
std::vector<tokenizer::TokenId> encode(const RunOptions& options, const std::string& text,
                                       const tokenizer::Tokenizer& tokenizer, bool begins) {
  std::vector<tokenizer::TokenId> ids = tokenizer.encode(text, /*add_special=*/false, !options.no_special);
  if (begins && tokenizer.add_bos()) ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

// The number of tokens to make room for.
int64_t context(const RunOptions& options, int64_t most, int64_t n_prompt, bool dialogue) {
  if (options.ctx_size > most) fail("", "a context of {} tokens exceeds the model's {}", options.ctx_size, most);
  if (options.ctx_size > 0) return options.ctx_size;
  const int64_t need =
      n_prompt + std::min(answer_size(options) == kNoLimit ? kUnknownNeed : answer_size(options), most);
  return std::min(most, dialogue ? std::max(kUnknownNeed, need) : need);
}

RunResult run_chat(const RunOptions& options, const ProgressCallback& progress, const ReadLine& read_line) {
  const std::string prompt = read_prompt(options);
  if (prompt.empty() && !read_line) fail("", "the prompt is empty: give --prompt, --file or --interactive");
  const ChatResult talk = chat({.model = options.model,
                                .render = {},
                                .shaped = options.shaped,
                                .prompt = prompt,
                                .n_predict = answer_size(options),
                                .ctx_size = options.ctx_size,
                                .batch_size = options.batch_size,
                                .sampling = options.sampling,
                                .seed = options.seed,
                                .stop = options.stop},
                               progress, read_line);
  return {.text = talk.text,
          .finish_reason = talk.finish_reason,
          .context = talk.context,
          .seed = talk.seed,
          .prompt = talk.prompt,
          .generation = talk.generation};
}

}  // namespace

RunResult run(const RunOptions& options, const ProgressCallback& progress, const ReadLine& read_line) {
  const bool dialogue = read_line != nullptr;
  check(options);
  if (options.chat) return run_chat(options, progress, read_line);
  RunResult result;
  result.seed = chosen_seed(options.seed, "--seed");
  const std::string prompt = read_prompt(options);
  const OpenModel open(options.model, options.ctx_size);
  const tokenizer::Tokenizer tokenizer(open.reader().metadata());
  std::vector<tokenizer::TokenId> ids;
  if (!prompt.empty()) ids = encode(options, prompt, tokenizer, /*begins=*/true);
  if (ids.empty() && !dialogue) fail("", "the prompt is empty: give --prompt, --file or --interactive");
  const auto n_prompt = static_cast<int64_t>(ids.size());
  result.context = context(options, open.model().config().n_context, n_prompt, dialogue);
  if (n_prompt >= result.context) fail("", "a prompt of {} tokens fills the context of {}", n_prompt, result.context);

  const auto report = [&](std::string_view stage, Json data) {
    if (progress) progress({.stage = stage, .data = std::move(data)});
  };
  if (options.seed == kRandomSeed) report("seed", {{"seed", result.seed}});
  generate::SamplingOptions sampling = options.sampling;
  sampling.seed = static_cast<uint64_t>(result.seed);
  generate::Generator generator(open.model(), tokenizer,
                                {.n_context = result.context,
                                 .batch = options.batch_size,
                                 .show_special = options.show_special,
                                 .sampling = sampling,
                                 .stops = options.stop});
  const auto answer = [&] {
    const int64_t most = answer_size(options) == kNoLimit ? result.context : answer_size(options);
    const generate::FinishReason finish_reason = generator.generate(most, [&](std::string_view piece) {
      result.text += piece;
      report("text", piece);
    });
    result.finish_reason = name(finish_reason);
    report("ending", {{"finish_reason", result.finish_reason}});
    return finish_reason;
  };
  if (!ids.empty()) {
    report("prompt", prompt);
    generator.append(ids);
    answer();
    if (dialogue) result.text += '\n';
  }
  while (dialogue) {
    const std::optional<std::string> line = read_line();
    if (!line) break;
    check_text(*line, "a line of the dialogue");
    generator.append(encode(options, *line + "\n", tokenizer, generator.empty()));
    if (answer() == generate::FinishReason::kContext) {
      fail("", "the context of {} tokens is full; -c N makes it larger", result.context);
    }
    result.text += '\n';
  }
  check_mapped_files_unchanged();
  result.prompt = {generator.prompt_timing().tokens, generator.prompt_timing().seconds};
  result.generation = {generator.generation_timing().tokens, generator.generation_timing().seconds};
  return result;
}

}  // namespace steelyard::jobs
