// Continuous batching: one thread owns a model's session and passes the texts of many requests through it together. A
// text enters when a slot is free, and leaves when it ends; the others do not wait for it. Prompts go through the model
// in slices between the steps of running answers.
//
// On the CPU a text is the same, token by token, whatever is beside it and whatever was asked before, and the same that
// `run` gives: prompts are computed in batches of several rows as run() has them, and answers row by row
// (Session::forward_alone). Used by the server's handlers, from any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "generate/stop_filter.h"
#include "model/model.h"
#include "serve/slots.h"
#include "serve/text_request.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::serve {

struct EngineOptions {
  int64_t n_slots = 4;    ///< texts at a time
  int64_t n_context = 0;  ///< of each
  int64_t most_waiting = 64;
  int threads = 0;  ///< 0: all cores
};

/// Sums since the engine began, and what it is doing.
struct EngineFigures {
  int64_t texts = 0, cancelled = 0, failed = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double prompt_seconds = 0, generation_seconds = 0;
  int64_t steps = 0;  ///< of generation, each of one token of every running text
  int64_t running = 0, waiting = 0;
};

class Engine {
 public:
  /// Keeps references to both. Error for everything that Session refuses.
  Engine(const model::Model& model, const tokenizer::Tokenizer& tokenizer, EngineOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// What runs is cut off.
  ~Engine();

  /// Puts texts into the queue, all or none. False when there is no room for them.
  bool submit(std::vector<TextRequest> requests);

  const EngineOptions& options() const { return options_; }
  EngineFigures figures() const;

 private:
  // A text in a slot.
  struct Text {
    TextRequest request;
    generate::Sampler sampler;
    generate::StopFilter filter;
    int64_t slot;
    bool begun = false;  // the slot has been given what is held of the prompt
    std::optional<tokenizer::TokenId> pending =
        {};  // what follows what is in the slot: chosen, or a prompt's last token
    std::vector<ScoredToken> prompt_scores = {};
    ScoredToken scored = {};  // of `pending`
    std::string error = {};
    Usage usage = {};
    bool ended = false;

    int64_t n_prompt() const { return std::ssize(request.prompt); }
    // The last token of the prompt goes through the model alone, as run() has it.
    bool ends_alone() const { return serve::ends_alone(n_prompt()) && (n_prompt() == 1 || !request.score_prompt); }
    int64_t n_batched() const { return n_prompt() - (ends_alone() ? 1 : 0); }
  };
  // Rows of hidden states whose logits are wanted, and whose they are.
  using Rows = std::vector<std::pair<int64_t, Text*>>;

  void work(const std::stop_token& stop);
  void admit(const std::stop_token& stop);
  void pass_prompts();
  void begin(Text& text);
  bool waits_for_another(const Text& text) const;
  std::span<const tokenizer::TokenId> next_slice(const Text& text, int64_t room);
  void score_prompt(Text& text, int64_t first, compute::Matrix hidden_states);
  void pass_answers();
  void choose_tokens(compute::Matrix hidden_states, const Rows& rows);
  void choose_token(Text& text, std::span<float> logits) const;
  void say_token(Text& text);
  void end(Text& text, generate::FinishReason finish);
  void break_off(Text& text, std::string error);
  void remove_ended();
  void count(auto change);

  const model::Model& model_;
  const tokenizer::Tokenizer& tokenizer_;
  const EngineOptions options_;
  Slots slots_;
  std::vector<std::unique_ptr<Text>> texts_;  // in slots, in the order in which they came
  compute::Buffer rows_;                      // [n_slots, hidden_width]
  std::vector<float> logits_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable_any arrived_;
  std::deque<TextRequest> queue_;
  EngineFigures figures_;

  std::jthread thread_;  // last: it begins when all else is there
};

}  // namespace steelyard::serve
