// Batched decoding: many independent texts continue at the same time, each in a slot of its own, and every step passes
// the new tokens of all of them through the model together. A weight is then read once for all texts instead of once
// for each, which is what bounds the decoding of a single one.
//
// On the CPU, what a text gets does not depend on the texts beside it, nor on the number of slots: a step never has a
// single row, which is computed in another way (docs/architecture.md, "Products on the CPU"). A GPU chooses kernels by
// the number of rows, so that there it depends on both in the last digits. Used by Writer.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/model.h"
#include "schedule/session.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::generate {

class BatchDecoder {
 public:
  /// Room for `n_context` tokens in each of at least `n_slots` slots; all are empty. Error for everything that Session
  /// refuses.
  BatchDecoder(const model::Model& model, int64_t n_context, int64_t n_slots);

  int64_t n_slots() const { return n_slots_; }
  /// Forgets the text of a slot, which may then get another one.
  void clear(int64_t slot);
  /// Tokens that continue the slot's text in the next step. A slot that gets none must be empty.
  void append(int64_t slot, std::span<const tokenizer::TokenId> ids);

  /// The logits [n_vocab] after the last token of a slot, which may be changed.
  using Use = std::function<void(int64_t slot, std::span<float> logits)>;
  /// Passes all appended tokens through the model. Then calls `use` for every slot that had some, several at a time on
  /// different threads; it must not touch the decoder. Error when a slot has no room for its tokens, and where logits
  /// are not finite.
  void step(const Use& use);

 private:
  compute::Matrix last_rows(compute::Matrix hidden_states);
  void use_logits(std::span<const int64_t> slots, compute::Matrix rows, const Use& use);

  const model::Model& model_;
  const int64_t n_slots_;
  schedule::Session session_;
  std::vector<std::vector<tokenizer::TokenId>> pending_;  // of each slot
  compute::Buffer last_rows_;                             // [n_slots + 1, hidden_width]
  std::vector<float> logits_;
};

}  // namespace steelyard::generate
