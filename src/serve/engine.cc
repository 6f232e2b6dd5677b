#include "serve/engine.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"
#include "serve/token_scores.h"

namespace steelyard::serve {
namespace {

// Tokens of prompts that go through the model between two steps of answers, so that these do not stall.
constexpr int64_t kSliceBesideAnswers = 128;
// A prompt waits for another one that is being computed where so many first tokens are the same.
constexpr int64_t kWorthWaiting = 64;
// Of logits at a time, as in BatchDecoder.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

// Adds the time until it is destroyed.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

Engine::Engine(const model::Model& model, const tokenizer::Tokenizer& tokenizer, EngineOptions options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(options),
      slots_(model, options.n_context, options.n_slots),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

Engine::~Engine() = default;

bool Engine::submit(std::vector<TextRequest> requests) {
  for (const TextRequest& request : requests) {
    STEELYARD_CHECK(!request.prompt.empty() && std::ssize(request.prompt) < options_.n_context);
    STEELYARD_CHECK(request.channel != nullptr && (request.max_tokens > 0 || request.score_prompt));
  }
  {
    const std::lock_guard lock(mutex_);
    if (std::ssize(queue_) + std::ssize(requests) > options_.most_waiting) return false;
    for (TextRequest& request : requests) queue_.push_back(std::move(request));
    figures_.waiting = std::ssize(queue_);
  }
  arrived_.notify_one();
  return true;
}

EngineFigures Engine::figures() const {
  const std::lock_guard lock(mutex_);
  return figures_;
}

void Engine::count(auto change) {
  const std::lock_guard lock(mutex_);
  change(figures_);
}

void Engine::work(const std::stop_token& stop) {
  set_thread_count(options_.threads);  // of this thread's teams
  while (!stop.stop_requested()) {
    admit(stop);
    try {
      pass_prompts();
      remove_ended();
      pass_answers();
    } catch (const std::exception& error) {
      for (const auto& text : texts_) break_off(*text, error.what());
      slots_.forget();
    }
    remove_ended();
  }
  const std::lock_guard lock(mutex_);
  for (const auto& text : texts_) break_off(*text, "the server stops");
  for (TextRequest& request : queue_) request.channel->push({.index = request.index, .error = "the server stops"});
  queue_.clear();
}

// Waits for something to do, then gives free slots to texts that wait.
void Engine::admit(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (texts_.empty()) arrived_.wait(lock, stop, [&] { return !queue_.empty(); });
  while (!queue_.empty()) {
    TextRequest& next = queue_.front();
    if (!next.channel->cancelled()) {
      const int64_t slot = slots_.take(next.prompt);
      if (slot < 0) break;
      const generate::SamplingOptions sampling = next.sampling;
      std::vector<std::string> stops = next.stops;
      texts_.push_back(std::unique_ptr<Text>(
          new Text{std::move(next), generate::Sampler(sampling), generate::StopFilter(std::move(stops)), slot}));
      ++figures_.texts;
    } else {
      ++figures_.cancelled;
    }
    queue_.pop_front();
  }
  figures_.waiting = std::ssize(queue_);
  figures_.running = std::ssize(texts_);
}

bool Engine::waits_for_another(const Text& text) const {
  if (!slots_.shares() || text.request.score_prompt) return false;
  for (const auto& other : texts_) {
    if (other.get() == &text) return false;  // those after it came later
    if (other->pending || other->ended) continue;
    if (Slots::common(text.request.prompt, other->request.prompt) >= kWorthWaiting) return true;
  }
  return false;
}

void Engine::begin(Text& text) {
  text.begun = true;
  for (const tokenizer::TokenId id : text.request.prompt) text.sampler.accept(id);
  if (text.request.score_prompt) {  // all of it is wanted
    slots_.session().rewind(text.slot, 0);
    text.prompt_scores.resize(text.request.prompt.size());
    text.prompt_scores[0] = {{text.request.prompt[0], 0}, {}, /*scored=*/false};
  } else {
    text.usage.cached = slots_.begin(text.slot, text.request.prompt, text.n_batched());
  }
  text.usage.prompt = text.n_prompt();
  count([&](EngineFigures& figures) {
    figures.prompt_tokens += text.usage.prompt;
    figures.cached_tokens += text.usage.cached;
  });
}

// What of a prompt goes through the model next, of at most `room` tokens; empty: not now. A batch never has a single
// row, and neither has what is left for the next one.
std::span<const tokenizer::TokenId> Engine::next_slice(const Text& text, int64_t room) {
  const int64_t position = slots_.session().position(text.slot), left = text.n_batched() - position;
  int64_t n = std::min(left, room);
  if (!slots_.shares()) {  // what run() has: windows and states could see the difference
    n = std::min(left, kRunBatch);
    if (n > room) return {};
  } else if (left - n == 1) {
    --n;
  }
  if (n < 2) return {};
  return std::span(text.request.prompt).subspan(static_cast<size_t>(position), static_cast<size_t>(n));
}

void Engine::pass_prompts() {
  double seconds = 0;
  const bool answers = std::ranges::any_of(texts_, [](const auto& text) { return text->pending.has_value(); });
  int64_t room = answers && slots_.shares() ? kSliceBesideAnswers : kRunBatch, n_rows = 0;
  struct Part {
    Text* text;
    int64_t first_row, first_position;
  };
  std::vector<Part> parts;
  std::vector<schedule::SequenceTokens> batch;
  for (const auto& text : texts_) {
    if (text->request.channel->cancelled()) {
      break_off(*text, "cancelled");
      continue;
    }
    if (text->pending || (!text->begun && waits_for_another(*text))) continue;
    if (!text->begun) begin(*text);
    const std::span<const tokenizer::TokenId> slice = next_slice(*text, room);
    if (slice.empty()) continue;
    parts.push_back({text.get(), n_rows, slots_.session().position(text->slot)});
    batch.push_back({text->slot, slice});
    n_rows += std::ssize(slice);
    room -= std::ssize(slice);
  }
  if (!batch.empty()) {
    const Stopwatch stopwatch(seconds);
    const compute::Matrix hidden_states = slots_.session().forward_batch(batch);
    Rows rows;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto& [text, first_row, first_position] = parts[i];
      const int64_t n = std::ssize(batch[i].ids);
      slots_.hold(text->slot);
      if (text->request.score_prompt) score_prompt(*text, first_position, hidden_states.slice(first_row, n));
      if (first_position + n == text->n_prompt()) rows.emplace_back(first_row + n - 1, text);
    }
    choose_tokens(hidden_states, rows);
  }
  for (const auto& text : texts_) {
    const bool alone = text->ends_alone() && text->begun && !text->ended && !text->pending;
    if (alone && slots_.session().position(text->slot) == text->n_batched())
      text->pending = text->request.prompt.back();
  }
  count([&](EngineFigures& figures) { figures.prompt_seconds += seconds; });
}

void Engine::score_prompt(Text& text, int64_t first, compute::Matrix hidden_states) {
  const int64_t n_vocab = model_.config().n_vocab;
  const int64_t each = std::max<int64_t>(1, kLogitBytes / (n_vocab * int64_t{sizeof(float)}));
  const int64_t n = std::min(hidden_states.rows, text.n_prompt() - 1 - first);  // the last one has nothing after it
  for (int64_t begin = 0; begin < n; begin += each) {
    const compute::Matrix logits = slots_.session().logits(hidden_states.slice(begin, std::min(each, n - begin)));
    logits_.resize(static_cast<size_t>(logits.rows * logits.cols));
    model_.backend().download(logits_.data(), logits.data, logits_.size() * sizeof(float));
    parallel_for(logits.rows, 1, [&](int64_t i) {
      const auto at = static_cast<size_t>(first + begin + i + 1);
      const auto row = std::span(logits_).subspan(static_cast<size_t>(i * n_vocab), static_cast<size_t>(n_vocab));
      text.prompt_scores[at] = score_token(row, text.request.prompt[at], text.request.n_top.value_or(0));
    });
  }
}

void Engine::pass_answers() {
  double seconds = 0;
  std::vector<schedule::SequenceTokens> batch;
  Rows rows;
  for (const auto& text : texts_) {
    if (!text->pending) continue;
    rows.emplace_back(std::ssize(batch), text.get());
    batch.push_back({text->slot, std::span(&*text->pending, 1)});
  }
  if (batch.empty()) return;
  {
    const Stopwatch stopwatch(seconds);
    choose_tokens(slots_.session().forward_alone(batch), rows);
  }
  count([&](EngineFigures& figures) {
    figures.generation_seconds += seconds;
    ++figures.steps;
  });
}

// The next token of each text, from the logits of its row, which are computed alone as run() does.
void Engine::choose_tokens(compute::Matrix hidden_states, const Rows& rows) {
  if (rows.empty()) return;
  const int64_t width = hidden_states.cols, n_vocab = model_.config().n_vocab;
  if (!rows_) rows_ = model_.backend().allocate(static_cast<size_t>(options_.n_slots * width) * sizeof(float));
  compute::Matrix chosen{reinterpret_cast<float*>(rows_.get()), std::ssize(rows), width, width};
  for (int64_t i = 0; i < chosen.rows; ++i) {
    model_.backend().copy(hidden_states.slice(rows[static_cast<size_t>(i)].first, 1), chosen.slice(i, 1));
  }
  const int64_t each = std::max<int64_t>(1, kLogitBytes / (n_vocab * int64_t{sizeof(float)}));
  for (int64_t first = 0; first < chosen.rows; first += each) {
    const compute::Matrix logits =
        slots_.session().logits_alone(chosen.slice(first, std::min(each, chosen.rows - first)));
    logits_.resize(static_cast<size_t>(logits.rows * logits.cols));
    model_.backend().download(logits_.data(), logits.data, logits_.size() * sizeof(float));
    parallel_for(logits.rows, 1, [&](int64_t i) {
      choose_token(*rows[static_cast<size_t>(first + i)].second,
                   std::span(logits_).subspan(static_cast<size_t>(i * n_vocab), static_cast<size_t>(n_vocab)));
    });
  }
  for (const auto& [row, text] : rows) say_token(*text);
}

// Several texts at a time, on different threads.
void Engine::choose_token(Text& text, std::span<float> logits) const {
  if (!std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) {
    text.error = "the model's logits are not finite";
    return;
  }
  const bool scores = text.request.n_top.has_value();
  std::vector<float> untouched;  // the penalty changes logits
  if (scores) untouched.assign(logits.begin(), logits.end());
  text.pending = text.sampler.sample(logits);
  text.sampler.accept(*text.pending);
  if (scores) text.scored = score_token(untouched, *text.pending, *text.request.n_top);
}

// Says the token that was chosen, or ends the text.
void Engine::say_token(Text& text) {
  if (!text.error.empty()) return break_off(text, text.error);
  if (!text.prompt_scores.empty())
    text.request.channel->push({.index = text.request.index, .prompt = std::exchange(text.prompt_scores, {})});
  if (text.request.max_tokens == 0) return end(text, generate::FinishReason::kTokens);
  if (tokenizer_.is_end_of_generation(*text.pending)) return end(text, generate::FinishReason::kEndOfGeneration);
  ++text.usage.generated;
  const tokenizer::TokenId id = *text.pending;
  Event event{.index = text.request.index};
  event.text = text.filter.push(text.request.piece ? text.request.piece(id) : tokenizer_.decode(std::span(&id, 1)));
  if (text.request.n_top) event.tokens.push_back(std::move(text.scored));
  if (!event.text.empty() || !event.tokens.empty()) text.request.channel->push(std::move(event));
  if (text.filter.stopped()) return end(text, generate::FinishReason::kStopString);
  if (text.usage.generated == text.request.max_tokens) return end(text, generate::FinishReason::kTokens);
  if (slots_.session().position(text.slot) + 1 >= options_.n_context)
    return end(text, generate::FinishReason::kContext);
}

void Engine::end(Text& text, generate::FinishReason finish) {
  text.ended = true;
  count([&](EngineFigures& figures) { figures.generated_tokens += text.usage.generated; });
  text.request.channel->push(
      {.index = text.request.index, .text = text.filter.finish(), .finish = finish, .usage = text.usage});
}

void Engine::break_off(Text& text, std::string error) {
  if (text.ended) return;
  text.ended = true;
  text.error = std::move(error);
  text.request.channel->push({.index = text.request.index, .error = text.error, .usage = text.usage});
}

void Engine::remove_ended() {
  int64_t n_cancelled = 0, n_failed = 0;
  std::erase_if(texts_, [&](const auto& text) {
    if (!text->ended) return false;
    const bool cancelled = text->request.channel->cancelled();
    n_cancelled += cancelled;
    n_failed += !cancelled && !text->error.empty();
    slots_.release(text->slot);
    return true;
  });
  count([&](EngineFigures& figures) {
    figures.cancelled += n_cancelled;
    figures.failed += n_failed;
    figures.running = std::ssize(texts_);
  });
}

}  // namespace steelyard::serve
