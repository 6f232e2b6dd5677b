// The sequences of a session as slots that texts take turns in, and which beginnings of texts they still hold.
//
// A beginning is used again only where it gives the same numbers as if it were computed anew: as part of a prompt. What
// an answer appended token by token is computed again when it comes back in a prompt (docs/architecture.md, "Products
// on the CPU"); so an answer does not depend on what was asked before. Used by the engine, on its thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "schedule/session.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::serve {

class Slots {
 public:
  /// Error for everything that Session refuses.
  Slots(const model::Model& model, int64_t n_context, int64_t n_slots);

  int64_t n_slots() const { return std::ssize(slots_); }
  int64_t n_context() const { return n_context_; }
  schedule::Session& session() { return session_; }
  bool is_free(int64_t slot) const { return !slots_[index(slot)].taken; }

  /// Takes a free slot for a text: one that holds its beginning, else the one that has been free for longest. -1: none
  /// is free.
  int64_t take(std::span<const tokenizer::TokenId> prompt);
  void release(int64_t slot);
  /// Puts the longest beginning that any slot holds into this one, of the n_batched tokens of a prompt that are
  /// computed in batches. Returns how many they are: all, or at least two fewer, because a batch is not to have a
  /// single row.
  int64_t begin(int64_t slot, std::span<const tokenizer::TokenId> prompt, int64_t n_batched);
  /// How many first tokens two texts have in common.
  static int64_t common(std::span<const tokenizer::TokenId> a, std::span<const tokenizer::TokenId> b);
  /// The slot's text so far is a prompt's.
  void hold(int64_t slot) { slots_[index(slot)].n_held = session_.position(slot); }
  /// Nothing is held any more, in any slot: after an error in the middle of a pass.
  void forget();

  /// A slot can give its text to others.
  bool shares() const { return shares_; }

 private:
  struct Slot {
    bool taken = false;
    int64_t n_held = 0;     // positions computed as a prompt
    uint64_t released = 0;  // when, in numbers of releases
  };
  static size_t index(int64_t slot) { return static_cast<size_t>(slot); }
  int64_t held(int64_t slot, std::span<const tokenizer::TokenId> prompt) const;

  schedule::Session session_;
  const int64_t n_context_;
  const bool shares_;
  std::vector<Slot> slots_;
  uint64_t n_releases_ = 0;
};

/// Tokens of a prompt that `run` passes through a model at once.
inline constexpr int64_t kRunBatch = 512;

/// Whether `run` computes the last token of a prompt in a batch of its own, in which a row is computed in another way.
inline bool ends_alone(int64_t n_prompt) { return n_prompt % kRunBatch == 1; }

}  // namespace steelyard::serve
