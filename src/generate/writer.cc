#include "generate/writer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"
#include "generate/repetition.h"

namespace steelyard::generate {
namespace {

// One chunk while it is written: what comes next, given the logits.
class ChunkInProgress {
 public:
  ChunkInProgress(const tokenizer::Tokenizer& tokenizer, const Beginnings& beginnings, const WriterOptions& options,
                  int64_t number)
      : chunk(number),
        tokenizer_(tokenizer),
        beginnings_(beginnings),
        n_ctx_(options.n_ctx),
        random_(options.sampling.seed, static_cast<uint64_t>(2 * number)),
        sampler_(sampling(options, number)) {
    begin_text();
  }

  const int64_t chunk;
  WrittenChunk written;

  bool full() const { return std::ssize(written.ids) == n_ctx_; }
  /// The text goes on in an empty context.
  bool fresh() const { return fresh_; }
  /// What the model reads before it says what comes next.
  std::vector<tokenizer::TokenId> take_pending() {
    fresh_ = false;
    return std::exchange(pending_, {});
  }

  void go_on(std::span<float> logits) {
    const tokenizer::TokenId id = sampler_.sample(logits);
    add(id);
    if (full()) return;
    if (const int64_t superfluous = repetition_.push(id); superfluous > 0) {
      const int64_t n = std::min(superfluous, std::ssize(written.ids) - written.starts.back());
      written.ids.resize(written.ids.size() - static_cast<size_t>(n));
      written.n_dropped += n;
      ++written.n_looped;
      return begin_text();
    }
    const bool ends = tokenizer_.is_end_of_generation(id);
    if (!ends && (answer_.empty() || id != turn_end_)) return;
    if (answer_.empty()) {
      ++written.n_ended;
      return begin_text();
    }
    for (const tokenizer::TokenId next : std::exchange(answer_, {})) add(next);
    repetition_.clear();
  }

 private:
  static SamplingOptions sampling(const WriterOptions& options, int64_t chunk) {
    SamplingOptions own = options.sampling;
    own.seed = Random(own.seed, static_cast<uint64_t>(2 * chunk + 1)).bits();
    return own;
  }

  void begin_text() {
    const Beginning beginning = beginnings_.draw(random_);
    if (written.starts.empty() || written.starts.back() < std::ssize(written.ids)) {
      written.starts.push_back(std::ssize(written.ids));
    }
    repetition_.clear();
    fresh_ = true;
    pending_ = beginning.unseen;
    turn_end_ = beginning.turn_end;
    answer_ = beginning.answer;
    for (const tokenizer::TokenId id : beginning.ids) add(id);
  }

  // Part of the text, and of what the model reads. Nothing after the chunk's end.
  void add(tokenizer::TokenId id) {
    if (full()) return;
    written.ids.push_back(id);
    pending_.push_back(id);
  }

  const tokenizer::Tokenizer& tokenizer_;
  const Beginnings& beginnings_;
  const int64_t n_ctx_;
  Random random_;  // of beginnings
  Sampler sampler_;
  RepetitionDetector repetition_;
  bool fresh_ = false;
  std::vector<tokenizer::TokenId> pending_;
  std::optional<tokenizer::TokenId> turn_end_;
  std::vector<tokenizer::TokenId> answer_;  // of a chat whose question is being written
};

}  // namespace

void write_chunks(const model::Model& model, const tokenizer::Tokenizer& tokenizer, const Beginnings& beginnings,
                  const WriterOptions& options, int64_t begin, int64_t end,
                  const std::function<void(int64_t, WrittenChunk)>& pass) {
  STEELYARD_CHECK(options.n_ctx > 0 && options.at_a_time > 0);
  check(options.sampling);
  // What precedes a text may be no part of it, but the last token is not read any more.
  BatchDecoder decoder(model, options.n_ctx, std::min(options.at_a_time, end - begin));
  std::vector<std::optional<ChunkInProgress>> slots(static_cast<size_t>(decoder.n_slots()));
  std::map<int64_t, WrittenChunk> done;  // that wait for one before them
  int64_t next = begin, next_passed = begin;
  while (next_passed < end) {
    for (int64_t s = 0; s < decoder.n_slots(); ++s) {
      std::optional<ChunkInProgress>& slot = slots[static_cast<size_t>(s)];
      while (slot ? slot->full() : next < end) {  // a beginning may fill its chunk
        if (!slot) {
          slot.emplace(tokenizer, beginnings, options, next++);
          continue;
        }
        done.emplace(slot->chunk, std::move(slot->written));
        slot.reset();
        decoder.clear(s);
      }
      if (!slot) continue;
      if (slot->fresh()) decoder.clear(s);
      decoder.append(s, slot->take_pending());
    }
    for (auto first = done.begin(); first != done.end() && first->first == next_passed; first = done.erase(first)) {
      pass(next_passed++, std::move(first->second));
    }
    if (next_passed == end) break;
    decoder.step([&](int64_t s, std::span<float> logits) { slots[static_cast<size_t>(s)]->go_on(logits); });
  }
}

}  // namespace steelyard::generate
