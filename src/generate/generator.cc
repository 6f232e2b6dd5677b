// See generator.h.
#include "generate/generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "schedule/non_finite.h"

namespace steelyard::generate {
namespace {

// Adds the time until it is destroyed to a Timing.
class Stopwatch {
 public:
  explicit Stopwatch(Timing& timing) : timing_(timing) {}
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() { timing_.seconds += std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Timing& timing_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace

std::string_view name(FinishReason finish_reason) {
  switch (finish_reason) {
    case FinishReason::kEndOfGeneration:
      return "end-of-generation";
    case FinishReason::kStopString:
      return "stop";
    case FinishReason::kTokens:
      return "tokens";
    case FinishReason::kContext:
      return "context";
  }
  return "";
}

Generator::Generator(const model::Model& model, const tokenizer::Tokenizer& tokenizer, Options options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      session_(model, options_.n_context),
      sampler_(options_.sampling),
      filter_(options_.stops) {
  STEELYARD_CHECK(options_.batch > 0);
}

int64_t Generator::remaining() const { return options_.n_context - session_.position() - (waiting_ ? 1 : 0); }

std::vector<tokenizer::TokenId> Generator::ids() const {
  std::vector<tokenizer::TokenId> ids = session_.ids();
  if (waiting_) ids.push_back(*waiting_);
  return ids;
}

void Generator::append(std::span<const tokenizer::TokenId> ids) {
  if (static_cast<int64_t>(ids.size()) > remaining()) {
    fail("", "the context of {} tokens is full: {} more do not fit into the {} that are left", options_.n_context,
         ids.size(), remaining());
  }
  const Stopwatch stopwatch(prompt_);
  std::vector<tokenizer::TokenId> all;
  if (waiting_) all.push_back(*waiting_);
  all.insert(all.end(), ids.begin(), ids.end());
  waiting_.reset();
  for (const tokenizer::TokenId id : ids) sampler_.accept(id);
  for (std::span<const tokenizer::TokenId> rest = all; !rest.empty();) {
    const size_t n = std::min(rest.size(), static_cast<size_t>(options_.batch));
    const compute::Matrix residual = session_.forward(rest.first(n));
    rest = rest.subspan(n);
    if (rest.empty()) read_logits(residual);
  }
  prompt_.tokens += static_cast<int64_t>(ids.size());
}

int64_t Generator::restart(std::span<const tokenizer::TokenId> ids, uint64_t seed) {
  const std::vector<tokenizer::TokenId>& held = session_.ids();
  const auto shared = std::ranges::mismatch(held, ids).in1 - held.begin();
  // The last one has to be computed for its logits.
  int64_t n = std::min<int64_t>(shared, std::max<int64_t>(0, std::ssize(ids) - 1));
  if (n < session_.position() && !session_.has_whole_past()) n = 0;
  session_.rewind(0, n);
  waiting_.reset();
  options_.sampling.seed = seed;
  sampler_ = Sampler(options_.sampling);
  for (const tokenizer::TokenId id : ids.first(static_cast<size_t>(n))) sampler_.accept(id);
  filter_ = StopFilter(options_.stops);
  return n;
}

void Generator::read_logits(const compute::Matrix& residual) {
  const compute::Matrix last = session_.logits(residual.slice(residual.rows - 1, 1));
  logits_.resize(static_cast<size_t>(last.cols));
  model_.backend().download(logits_.data(), last.data, logits_.size() * sizeof(float));
  if (!std::ranges::all_of(logits_, [](float logit) { return std::isfinite(logit); })) {
    fail("", "the logits after token {} are not finite: first in {}", session_.position(),
         schedule::first_non_finite(model_, session_.ids()));
  }
}

FinishReason Generator::generate(int64_t n, const std::function<void(std::string_view)>& show) {
  STEELYARD_CHECK(!logits_.empty());
  const Stopwatch stopwatch(generation_);
  const auto end = [&](FinishReason finish_reason) {
    show(filter_.finish());
    return finish_reason;
  };
  for (int64_t i = 0; i < n; ++i) {
    if (remaining() < 1) return end(FinishReason::kContext);
    if (waiting_) read_logits(session_.forward(std::span(&*waiting_, 1)));
    const tokenizer::TokenId id = sampler_.sample(logits_);
    waiting_ = id;
    sampler_.accept(id);
    if (tokenizer_.is_end_of_generation(id)) return end(FinishReason::kEndOfGeneration);
    ++generation_.tokens;
    show(filter_.push(options_.decode ? options_.decode(id)
                                      : tokenizer_.decode(std::span(&id, 1), options_.show_special)));
    if (filter_.stopped()) return end(FinishReason::kStopString);
  }
  return end(FinishReason::kTokens);
}

}  // namespace steelyard::generate
