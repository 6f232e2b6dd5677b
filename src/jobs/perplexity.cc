#include "jobs/perplexity.h"

#include <cmath>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "evaluate/divergence.h"
#include "evaluate/evaluation.h"
#include "evaluate/perplexity.h"
#include "evaluate/self_check.h"
#include "evaluate/sequence.h"
#include "generate/greedy.h"
#include "jobs/evaluation_report.h"
#include "jobs/given_options.h"
#include "jobs/outputs.h"
#include "jobs/tool_turns.h"

namespace steelyard::jobs {
namespace {

// One run: what its kinds share.
class Run {
 public:
  Run(const PerplexityOptions& options, const ProgressCallback& progress)
      : options_(options), progress_(progress), open_(options.model, options.text.ctx_size, &options.sweep) {
    result_.model = printable(options.model.model, 4096);
    if (options.conversations.given()) conversations_.emplace(options.conversations);
  }

  PerplexityResult evaluate_text();
  PerplexityResult noise_floor();
  PerplexityResult one_sequence();
  void remove_progress() { progress_file_.remove(); }

 private:
  void check_context(int64_t n) const;
  tokenizer::Chunks choose_chunks(const tokenizer::Tokenizer& tokenizer, const evaluate::DivergenceBase* base);
  void report(const Progress& progress) const {
    if (progress_) progress_(progress);
  }
  void report_chunks(std::span<const evaluate::TokenScore> scores, int64_t n_scored);
  void answer_turns(const tokenizer::Tokenizer& tokenizer, const evaluate::DivergenceBase* base);
  void take_conversations(std::span<const evaluate::TokenScore> scores, const tokenizer::Tokenizer& tokenizer,
                          bool with_base);
  template <class Figures>
  void take(const Figures& figures);

  const PerplexityOptions& options_;
  const ProgressCallback& progress_;
  OpenModel open_;
  PerplexityResult result_;
  ResumeFile progress_file_;
  std::optional<ConversationText> conversations_;
  std::optional<ScoredConversations> scored_;  // of them
  std::vector<ToolTurn> turns_;
  std::vector<std::vector<tokenizer::TokenId>> answers_;  // to them
  std::optional<std::vector<std::vector<tokenizer::TokenId>>> base_answers_;
  size_t n_seen_ = 0;  // scores that report_chunks has seen
  double sum_ = 0;     // of the nll of those that count
  int64_t n_counted_ = 0;
};

void Run::check_context(int64_t n) const {
  const int64_t most = open_.model().config().n_context;
  if (n > most) fail("", "a context of {} tokens exceeds the model's {}", n, most);
}

// The text's chunks, or those of the base when no text is given.
tokenizer::Chunks Run::choose_chunks(const tokenizer::Tokenizer& tokenizer, const evaluate::DivergenceBase* base) {
  const auto choose = [&] {
    if (conversations_) {
      conversations_->read(open_.reader().metadata(), tokenizer);
      const bool given = options_.text.ctx_size != TextOptions().ctx_size;
      scored_.emplace(*conversations_, given ? options_.text.ctx_size : 0, open_.model().config().n_context);
      return scored_->chunks();
    }
    if (base != nullptr && !base->note().empty()) {
      fail(options_.kl_divergence_base, "was made of conversations: give them, with --conversations FILE");
    }
    if (!options_.text.file.empty()) return read_chunks(options_.text, tokenizer, options_.text.chunks);
    if (base == nullptr) fail("", "no text given: -f FILE");
    if (options_.text.ctx_size != TextOptions().ctx_size && options_.text.ctx_size != base->n_ctx())
      fail(options_.kl_divergence_base, "was made with context {}, not {}", base->n_ctx(), options_.text.ctx_size);
    std::vector<tokenizer::TokenId> ids = base->tokens();
    if (ids.size() < 2 * static_cast<size_t>(base->n_ctx())) {
      fail(options_.kl_divergence_base, "has a single chunk, at least two are needed");
    }
    return tokenizer::Chunks(std::move(ids), base->n_ctx(), options_.text.chunks, chunk_bos(tokenizer),
                             options_.kl_divergence_base);
  };
  tokenizer::Chunks chunks = choose();
  check_context(chunks.n_ctx());
  result_.text = printable(conversations_ ? options_.conversations.conversations : options_.text.file, 4096);
  result_.n_ctx = chunks.n_ctx();
  result_.n_chunks = chunks.count();
  result_.n_scored = chunks.count() * chunks.n_scored();
  return chunks;
}

// Reports each chunk that was finished since the last call.
void Run::report_chunks(std::span<const evaluate::TokenScore> scores, int64_t n_scored) {
  for (; n_seen_ < scores.size(); ++n_seen_) {
    if (!scored_ || scored_->role(n_seen_) == chat::Role::kAssistant) sum_ += scores[n_seen_].nll, ++n_counted_;
    const auto n = static_cast<int64_t>(n_seen_ + 1);
    if (n % n_scored != 0) continue;
    report({.stage = "chunks",
            .done = n / n_scored,
            .total = result_.n_chunks,
            .unit = "chunks",
            .data = {{"perplexity", std::exp(sum_ / static_cast<double>(std::max<int64_t>(n_counted_, 1)))}}});
  }
}

template <class Figures>
void Run::take(const Figures& figures) {
  result_.perplexity = figures.perplexity;
  result_.standard_error = figures.standard_error;
  result_.mean_nll = figures.mean_nll;
  result_.n_scored = figures.n_tokens;
}

// Of a base that conversations were made of: what it was made of, and how it has answered.
struct Note {
  std::string conversations;  // SHA-256
  int64_t answer_tokens = 0;
  std::vector<std::vector<tokenizer::TokenId>> answers;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("conversations", self.conversations);
    visit("answer_tokens", self.answer_tokens);
    visit("answers", self.answers);
  }
};

// The base's answers to the turns are in its file.
void Run::answer_turns(const tokenizer::Tokenizer& tokenizer, const evaluate::DivergenceBase* base) {
  const std::string& path = options_.kl_divergence_base;
  if (base != nullptr) {
    const Json json = parse_json(base->note());
    if (json.is_discarded() || base->note().empty()) fail(path, "was not made of conversations");
    Note made_of;
    read_json(json, made_of, path);
    if (made_of.conversations != conversations_->sha256()) {
      fail(path, "was made of other conversations, or with another chat template");
    }
    if (made_of.answer_tokens != options_.answer_tokens) {
      fail(path, "was made with --answer-tokens {}, not {}", made_of.answer_tokens, options_.answer_tokens);
    }
    base_answers_ = std::move(made_of.answers);
  }
  if (options_.answer_tokens == 0 || !calls_of(conversations_->chat(), tokenizer)) return;
  turns_ = tool_turns(*conversations_, tokenizer, options_.answer_tokens, open_.model().config().n_context);
  if (base_answers_ && base_answers_->size() != turns_.size()) fail(path, "is damaged: answers are missing");
  std::vector<std::vector<tokenizer::TokenId>> prompts;
  for (const ToolTurn& turn : turns_) prompts.push_back(turn.prompt);
  answers_ = generate::greedy_answers(open_.model(), tokenizer, prompts, options_.answer_tokens, [&](int64_t done) {
    report({.stage = "answers", .done = done, .total = std::ssize(prompts), .unit = "answers"});
  });
}

std::string note(const ConversationText& text, int64_t answer_tokens,
                 const std::vector<std::vector<tokenizer::TokenId>>& answers) {
  return json_text(to_json(Note{text.sha256(), answer_tokens, answers}));
}

void Run::take_conversations(std::span<const evaluate::TokenScore> scores, const tokenizer::Tokenizer& tokenizer,
                             bool with_base) {
  const std::vector<evaluate::TokenScore> answers = scored_->answers(scores);
  if (answers.empty()) fail(options_.conversations.conversations, "no assistant has written anything");
  take(perplexity(answers));
  if (with_base) result_.divergence = figures(divergence(answers));
  ConversationScores& of = result_.conversations.emplace(scored_->scores(scores, with_base));
  if (turns_.empty()) return;
  std::optional<std::span<const std::vector<tokenizer::TokenId>>> base;
  if (base_answers_) base = *base_answers_;
  of.tool_calls = compare_calls(*conversations_, turns_, answers_, base, *calls_of(conversations_->chat(), tokenizer));
}

PerplexityResult Run::evaluate_text() {
  const gguf::Source& reader = open_.reader();
  const model::Model& model = open_.model();
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const std::unique_ptr<evaluate::DivergenceBase> base =
      options_.kl_divergence ? evaluate::DivergenceBase::open(options_.kl_divergence_base) : nullptr;
  const tokenizer::Chunks chunks = choose_chunks(tokenizer, base.get());
  const evaluate::ModelIdentity identity = evaluate::model_identity(reader, model.config(), tokenizer);
  if (base) base->require(chunks, identity);

  evaluate::EvaluationOptions how;
  how.sweep = options_.sweep.sweep(reader, model.config(), evaluation_bytes(chunks, identity), chunks.n_ctx(),
                                   /*output=*/"", options_.ranks);
  how.sweep.scratch_folder = options_.scratch_folder;
  how.layer_done = [this](int64_t done, int64_t count) {
    report({.stage = "layers", .done = done, .total = count, .unit = "layers"});
  };
  how.settings = open_.settings();
  how.base_path = options_.kl_divergence_base;
  how.write_base = !options_.kl_divergence_base.empty() && !options_.kl_divergence;
  how.layout =
      options_.kl_divergence_base_format == "llama" ? evaluate::BaseLayout::kLlama : evaluate::BaseLayout::kCompact;
  how.progress_path = options_.resume.resume;
  how.save_every = options_.resume.interval();
  if (conversations_) answer_turns(tokenizer, base.get());
  if (conversations_ && how.write_base) how.note = note(*conversations_, options_.answer_tokens, answers_);
  WorstTokens worst(chunks.n_scored());
  if (base && !options_.report.empty())
    how.rows_scored = [&](const evaluate::ScoredLogits& rows, std::span<const evaluate::TokenScore> scores) {
      worst.see(rows, scores);
    };
  report({.stage = "plan",
          .data = {{"n_ctx", chunks.n_ctx()},
                   {"n_chunks", chunks.count()},
                   {"order", how.sweep.keep_layers ? "token" : "layer"}}});
  evaluate::EvaluationResult evaluated = evaluate::evaluate(
      model, identity, chunks, base.get(), how,
      [&](std::span<const evaluate::TokenScore> scores) { report_chunks(scores, chunks.n_scored()); });
  if (!cluster::leads(options_.ranks)) return std::move(result_);
  if (scored_) {
    take_conversations(evaluated.scores, tokenizer, base != nullptr);
  } else {
    take(perplexity(evaluated.scores));
    result_.running = running_perplexity(evaluated.scores, chunks.n_scored());
    if (base) result_.divergence = figures(divergence(evaluated.scores));
  }
  result_.resumed_chunks = evaluated.resumed_chunks;
  progress_file_ = std::move(evaluated.progress);
  if (!evaluated.routers.empty()) result_.router_agreement = agreement(evaluated.routers, evaluated.experts);
  if (!options_.report.empty()) {
    std::optional<report::DivergenceDetails> details;
    if (base) details = divergence_details(evaluated, chunks, *base, tokenizer, worst);
    write_file(options_.report, perplexity_page(options_, result_, evaluated, std::move(details)));
  }
  return std::move(result_);
}

// The size of the pieces has no common factor with usual batch sizes, so that rows get other neighbours.
PerplexityResult Run::noise_floor() {
  const tokenizer::Tokenizer tokenizer(open_.reader().metadata());
  const tokenizer::Chunks chunks = choose_chunks(tokenizer, nullptr);
  const int64_t n_piece = chunks.n_ctx() / 7 + 1;
  report({.stage = "plan", .data = {{"n_ctx", chunks.n_ctx()}, {"n_chunks", chunks.count()}, {"n_piece", n_piece}}});
  const std::vector<evaluate::TokenScore> scores =
      evaluate::self_check(open_.model(), chunks, n_piece,
                           [&](std::span<const evaluate::TokenScore> done) { report_chunks(done, chunks.n_scored()); });
  take(perplexity(scores));
  result_.divergence = figures(divergence(scores));
  return std::move(result_);
}

// The file is a JSON array of ids.
std::vector<tokenizer::TokenId> read_ids(const std::string& path) {
  const Json json = parse_json(read_text_file(path));
  if (!json.is_array() || json.empty()) fail(path, "expected a JSON array of token ids");
  std::vector<tokenizer::TokenId> ids;
  for (const Json& id : json) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) fail(path, "element {} is not a token id", ids.size());
    ids.push_back(id.get<tokenizer::TokenId>());
  }
  return ids;
}

PerplexityResult Run::one_sequence() {
  const std::vector<tokenizer::TokenId> ids = read_ids(options_.tokens);
  const auto n = static_cast<int64_t>(ids.size());
  // A context that is given is that of the text which the sequence begins.
  const int64_t n_text = options_.text.ctx_size != TextOptions().ctx_size ? options_.text.ctx_size : 0;
  check_context(std::max(n, n_text));
  std::optional<AtomicFile> dump;
  if (!options_.dump_logits.empty()) dump.emplace(options_.dump_logits);
  const std::vector<double> nll = evaluate::evaluate_sequence(
      open_.model(), options_.model.model, ids, n_text, [&](int64_t first, std::span<const float> logits) {
        if (dump) dump->append(std::as_bytes(logits));
        const int64_t done = first + std::ssize(logits) / open_.model().config().n_vocab;
        report({.stage = "tokens", .done = done, .total = n, .unit = "tokens"});
      });
  if (dump) dump->finish();
  result_.n_tokens = n;
  result_.mean_nll = evaluate::mean_estimate(nll).mean;
  result_.perplexity = std::exp(result_.mean_nll);
  result_.n_scored = std::ssize(nll);
  return std::move(result_);
}

}  // namespace

std::vector<std::string> PerplexityOptions::inputs() const {
  return {model.model,
          text.file,
          conversations.conversations,
          conversations.chat_template,
          tokens,
          kl_divergence ? kl_divergence_base : ""};
}

namespace {

// What a kind of run has no use for is refused.
void refuse_ignored(const PerplexityOptions& options) {
  const OptionNames always = names_of<ModelOptions>() + OptionNames{"scratch_folder"};
  if (!options.tokens.empty())
    return refuse_others(options, always + OptionNames{"tokens", "dump_logits", "ctx_size"}, "with --tokens");
  if (options.conversations.given()) {
    refuse_given(options,
                 {"file", "chunks", "from_chunk", "parse_special", "ppl_stride", "kl_divergence_base_format",
                  "self_check", "report"},
                 "with --conversations");
  } else {
    refuse_given(options, {"chat_template", "answer_tokens"}, "without --conversations");
  }
  const OptionNames text = always + OptionNames{"file", "ctx_size", "chunks", "from_chunk", "parse_special"};
  if (options.self_check)
    return refuse_others(options, text + OptionNames{"ppl_stride", "self_check"}, "with --self-check");
  options.resume.check();
  if (options.text.file.empty()) refuse_given(options, {"parse_special"}, "on the base's text; -f TEXT gives another");
  if (options.kl_divergence_base.empty())
    refuse_given(options, {"kl_divergence_base_format"}, "without --kl-divergence-base");
}

}  // namespace

void check(const PerplexityOptions& options) {
  const bool base = !options.kl_divergence_base.empty();
  if (options.kl_divergence && !base) fail("", "--kl-divergence needs --kl-divergence-base FILE");
  if (options.text.ppl_stride != 0 && base) fail("", "--ppl-stride and --kl-divergence-base cannot be combined");
  if (options.self_check && base) fail("", "--self-check and --kl-divergence-base cannot be combined");
  if (!options.dump_logits.empty() && options.tokens.empty()) fail("", "--dump-logits needs --tokens FILE");
  if (!options.tokens.empty() && !options.text.file.empty()) fail("", "--file and --tokens cannot be combined");
  if (options.text.from_chunk != 0 && options.text.file.empty()) fail("", "--from-chunk needs a text: -f FILE");
  if (!options.report.empty() && (options.self_check || !options.tokens.empty()))
    fail("", "--report shows a text's evaluation: --self-check and --tokens have none");
  const std::string& format = options.kl_divergence_base_format;
  if (format != "compact" && format != "llama") {
    fail("", "--kl-divergence-base-format: expected compact or llama, found \"{}\"", printable(format));
  }
  if (cluster::are_several(options.ranks)) {
    if (options.conversations.given()) fail("", "--conversations runs in one process");
    if (options.self_check || !options.tokens.empty()) fail("", "--self-check and --tokens run in one process");
    if (options.kl_divergence && !options.report.empty())
      fail("", "--report with --kl-divergence shows logits, which several processes do not bring together");
  }
  refuse_ignored(options);
  if (!cluster::leads(options.ranks)) return;
  for (const std::string& output : {options.dump_logits, options.resume.resume,
                                    options.kl_divergence ? std::string() : options.kl_divergence_base}) {
    if (!output.empty()) check_output(output, options.inputs());
  }
  if (!options.report.empty())
    check_output(options.report, options.inputs(), {options.kl_divergence_base, options.resume.resume});
}

PerplexityResult perplexity(const PerplexityOptions& options, const ProgressCallback& progress) {
  return perplexity(options, progress, [](const PerplexityResult&) {});
}

PerplexityResult perplexity(const PerplexityOptions& options, const ProgressCallback& progress,
                            const std::function<void(const PerplexityResult&)>& publish) {
  check(options);
  Run run(options, progress);
  PerplexityResult result = options.self_check       ? run.noise_floor()
                            : options.tokens.empty() ? run.evaluate_text()
                                                     : run.one_sequence();
  check_mapped_files_unchanged();
  if (cluster::leads(options.ranks)) publish(result);
  run.remove_progress();
  return result;
}

}  // namespace steelyard::jobs
