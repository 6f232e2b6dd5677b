// What the engine is asked for, one text to continue, and what it answers: events, which whoever asked takes from a
// channel. A channel has one reader, a connection, and one writer, the engine; either may give up.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "generate/generator.h"
#include "generate/sampler.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::serve {

/// A token and the logarithm of its probability, before anything that sampling does to it.
struct TokenScore {
  tokenizer::TokenId id = 0;
  float logprob = 0;
};

/// A token of a text with the likeliest ones at its place, the likeliest first.
struct ScoredToken {
  TokenScore token;
  std::vector<TokenScore> top;
  bool scored = true;  ///< the first token of a prompt has no distribution
};

/// Tokens that an answer took.
struct Usage {
  int64_t prompt = 0;
  int64_t cached = 0;  ///< of the prompt, those that were not computed again
  int64_t generated = 0;
};

/// What became of a text since the last event.
struct Event {
  int64_t index = 0;                     ///< which of the texts of one channel
  std::string text = {};                 ///< that follows what was said before; whole characters
  std::vector<ScoredToken> prompt = {};  ///< scores of the whole prompt, in one event, where they were asked for
  std::vector<ScoredToken> tokens = {};  ///< generated, where scores were asked for
  std::optional<generate::FinishReason> finish = {};  ///< the text's last event has it, or an error
  std::string error = {};
  Usage usage = {};  ///< of the last event

  bool is_last() const { return finish.has_value() || !error.empty(); }
};

class Channel {
 public:
  void push(Event event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    arrived_.notify_one();
  }
  /// The next event; nothing when none comes within the time.
  std::optional<Event> next(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_for(lock, time, [&] { return !events_.empty(); })) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  /// The reader wants no more: the engine stops what it does for it.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Event> events_;
  std::atomic<bool> cancelled_ = false;
};

/// A text to continue.
struct TextRequest {
  std::vector<tokenizer::TokenId> prompt;  ///< at least one token, fewer than the context
  int64_t max_tokens = 0;                  ///< 0: none, which wants score_prompt
  generate::SamplingOptions sampling = {};
  std::vector<std::string> stops = {};  ///< none empty
  std::optional<int64_t> n_top = {};    ///< scores of tokens, with so many of the likeliest; none: no scores
  bool score_prompt = false;            ///< of the prompt, too; with n_top
  /// What a token says; none: its text, nothing of control tokens. Called on the engine's thread.
  std::function<std::string(tokenizer::TokenId)> piece = {};
  int64_t index = 0;
  std::shared_ptr<Channel> channel = {};
};

}  // namespace steelyard::serve
