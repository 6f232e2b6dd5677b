// Perplexity of a model on a text or on the answers of conversations, its divergence from a base model, its noise
// floor, or all logits of one sequence.
//
// Progress: "plan" before the first token, data {n_ctx, n_chunks, order} or {n_ctx, n_chunks, n_piece} of a self check;
// "layers" where the text goes through one layer after the other; "chunks" with data {perplexity}, which is that of the
// text so far, once for each chunk and in order; "answers" to turns with calls of tools, before the first chunk;
// "tokens" of a sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/ranks.h"
#include "jobs/conversation_scores.h"
#include "jobs/divergence_figures.h"
#include "jobs/model_options.h"
#include "jobs/progress.h"
#include "jobs/sweep_options.h"
#include "jobs/text_options.h"

namespace steelyard::jobs {

struct PerplexityOptions {
  ModelOptions model;
  TextOptions text;                 ///< without a file: the base's text
  ConversationFiles conversations;  ///< instead of a text; the default of ctx_size is then their longest
  int64_t answer_tokens = 256;      ///< of conversations: tokens of an answer that may call tools, at most; 0: none
  SweepChoice sweep;
  ResumeOptions resume;
  std::string kl_divergence_base;                     ///< file of log-probabilities: written, or compared with
  std::string kl_divergence_base_format = "compact";  ///< of one to write: compact, or llama
  bool kl_divergence = false;                         ///< compare with the base instead of writing it
  bool self_check = false;                            ///< the model against itself in other batches
  std::string tokens;          ///< instead of a text: file with one sequence, a JSON array of ids
  std::string dump_logits;     ///< of that sequence: file for all logits, little-endian float32
  std::string report;          ///< HTML file for a report of a text's evaluation; empty: none
  std::string scratch_folder;  ///< for activations that exceed the memory; empty: the working directory

  /// Processes that share the work, of which this is one; null: it is alone. No option, and not recorded.
  cluster::Ranks* ranks = nullptr;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.model);
    visit.group(self.text);
    visit.group(self.conversations);
    visit("answer_tokens", self.answer_tokens);
    visit.group(self.sweep);
    visit.group(self.resume);
    visit("kl_divergence_base", self.kl_divergence_base);
    visit("kl_divergence_base_format", self.kl_divergence_base_format);
    visit("kl_divergence", self.kl_divergence);
    visit("self_check", self.self_check);
    visit("tokens", self.tokens);
    visit("dump_logits", self.dump_logits);
    visit("report", self.report);
    visit("scratch_folder", self.scratch_folder);
  }

  /// What the job reads, for check_output.
  std::vector<std::string> inputs() const;
};

/// As JSON without what the kind of run does not have.
struct PerplexityResult {
  std::string model;
  std::string text;                 ///< file; empty: the base's text
  int64_t n_ctx = 0, n_chunks = 0;  ///< of a text
  std::optional<int64_t> n_tokens;  ///< of a sequence
  double perplexity = 0;
  double standard_error = 0;                    ///< of the perplexity of a text
  double mean_nll = 0;                          ///< nats per token
  int64_t n_scored = 0;                         ///< tokens
  std::vector<double> running;                  ///< perplexity after each chunk; none of a self check
  std::optional<DivergenceFigures> divergence;  ///< from the base, or of a self check the noise floor
  std::optional<RouterAgreement> router_agreement;
  std::optional<ConversationScores> conversations;  ///< the figures above are of the answers then
  int64_t resumed_chunks = 0;                       ///< that an earlier run had done; not in the report

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    if (self.n_tokens) {
      visit("n_tokens", *self.n_tokens);
      visit("perplexity", self.perplexity);
      visit("mean_nll", self.mean_nll);
      return;
    }
    visit("text", self.text);
    visit("n_ctx", self.n_ctx);
    visit("n_chunks", self.n_chunks);
    visit("perplexity", self.perplexity);
    visit("standard_error", self.standard_error);
    visit("mean_nll", self.mean_nll);
    visit("n_scored", self.n_scored);
    if (!self.running.empty()) visit("running", self.running);
    if (self.divergence) visit.group(*self.divergence);
    visit.if_any("router_agreement", self.router_agreement);
    visit.if_any("conversations", self.conversations);
  }
};

/// Error for options that contradict each other, and outputs that cannot be written or are inputs.
void check(const PerplexityOptions& options);

/// Checks, then computes. Error also for what the model, the text or the base is not fit for, and for numbers that are
/// not finite.
PerplexityResult perplexity(const PerplexityOptions& options, const ProgressCallback& progress = {});

/// publish: called with the result, to write it somewhere. The progress of a run that can be gone on with is removed
/// when it has returned; what it throws ends the job, and keeps the progress.
PerplexityResult perplexity(const PerplexityOptions& options, const ProgressCallback& progress,
                            const std::function<void(const PerplexityResult&)>& publish);

}  // namespace steelyard::jobs
