#include "serve/slots.h"

#include <algorithm>

namespace steelyard::serve {

Slots::Slots(const model::Model& model, int64_t n_context, int64_t n_slots)
    : session_(model, n_context, n_slots),
      n_context_(n_context),
      shares_(session_.has_whole_past()),
      slots_(static_cast<size_t>(n_slots)) {}

int64_t Slots::common(std::span<const tokenizer::TokenId> a, std::span<const tokenizer::TokenId> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

// How much of the prompt a slot holds.
int64_t Slots::held(int64_t slot, std::span<const tokenizer::TokenId> prompt) const {
  if (!shares_) return 0;
  return std::min(common(prompt, session_.ids(slot)), slots_[index(slot)].n_held);
}

int64_t Slots::take(std::span<const tokenizer::TokenId> prompt) {
  // Where less is in common, the slot that has been free for longest is a better choice: others may come back.
  constexpr int64_t kWorthKeeping = 16;
  int64_t best = -1, best_held = kWorthKeeping - 1;
  for (int64_t slot = 0; slot < n_slots(); ++slot) {
    if (!is_free(slot)) continue;
    const int64_t n = held(slot, prompt);
    if (n > best_held) {
      best = slot;
      best_held = n;
    }
  }
  for (int64_t slot = 0; best_held < kWorthKeeping && slot < n_slots(); ++slot) {
    if (is_free(slot) && (best < 0 || slots_[index(slot)].released < slots_[index(best)].released)) best = slot;
  }
  if (best >= 0) slots_[index(best)].taken = true;
  return best;
}

void Slots::release(int64_t slot) {
  slots_[index(slot)].taken = false;
  slots_[index(slot)].released = ++n_releases_;
  if (!shares_) session_.reset(slot);
}

int64_t Slots::begin(int64_t slot, std::span<const tokenizer::TokenId> prompt, int64_t n_batched) {
  int64_t from = slot, most = held(slot, prompt);
  for (int64_t other = 0; other < n_slots(); ++other) {
    const int64_t n = held(other, prompt);
    if (n > most) {
      from = other;
      most = n;
    }
  }
  most = std::min(most, n_batched);
  // The last row of a prompt gives logits, and so has to be computed, unless it is not in a batch.
  const bool all = n_batched < std::ssize(prompt) && most == n_batched;
  if (!all) most = std::clamp<int64_t>(most, 0, std::max<int64_t>(0, n_batched - 2));
  if (from != slot && most > 0)
    session_.copy_past(from, slot, most);
  else
    session_.rewind(slot, shares_ ? most : 0);
  slots_[index(slot)].n_held = most;
  return most;
}

void Slots::forget() {
  session_.reset();
  for (Slot& slot : slots_) slot.n_held = 0;
}

}  // namespace steelyard::serve
