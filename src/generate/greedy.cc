#include "generate/greedy.h"

#include <algorithm>

#include "generate/batch_decoder.h"

namespace steelyard::generate {
namespace {

// More answers at a time do not make a step cheaper for each, and their caches take memory.
constexpr int64_t kMostSlots = 16;
constexpr size_t kNone = static_cast<size_t>(-1);

int64_t longest(std::span<const std::vector<tokenizer::TokenId>> prompts) {
  int64_t n = 0;
  for (const auto& prompt : prompts) n = std::max(n, std::ssize(prompt));
  return n;
}

}  // namespace

std::vector<std::vector<tokenizer::TokenId>> greedy_answers(const model::Model& model,
                                                            const tokenizer::Tokenizer& tokenizer,
                                                            std::span<const std::vector<tokenizer::TokenId>> prompts,
                                                            int64_t n_most, const std::function<void(int64_t)>& done) {
  std::vector<std::vector<tokenizer::TokenId>> answers(prompts.size());
  if (prompts.empty() || n_most < 1) return answers;
  BatchDecoder decoder(model, longest(prompts) + n_most, std::min<int64_t>(kMostSlots, std::ssize(prompts)));
  const auto n_slots = static_cast<size_t>(decoder.n_slots());
  std::vector<size_t> prompt_of(n_slots, kNone);
  std::vector<tokenizer::TokenId> next(n_slots);
  size_t n_begun = 0;
  int64_t n_done = 0;
  while (n_done < std::ssize(prompts)) {
    for (size_t slot = 0; slot < n_slots; ++slot) {
      if (prompt_of[slot] != kNone || n_begun == prompts.size()) continue;
      prompt_of[slot] = n_begun;
      decoder.append(static_cast<int64_t>(slot), prompts[n_begun++]);
    }
    decoder.step([&](int64_t slot, std::span<float> logits) {
      next[static_cast<size_t>(slot)] =
          static_cast<tokenizer::TokenId>(std::ranges::max_element(logits) - logits.begin());
    });
    for (size_t slot = 0; slot < n_slots; ++slot) {
      if (prompt_of[slot] == kNone) continue;
      std::vector<tokenizer::TokenId>& answer = answers[prompt_of[slot]];
      const bool ends = tokenizer.is_end_of_generation(next[slot]);
      if (!ends) answer.push_back(next[slot]);
      if (!ends && std::ssize(answer) < n_most) {
        decoder.append(static_cast<int64_t>(slot), std::span(&next[slot], 1));
        continue;
      }
      decoder.clear(static_cast<int64_t>(slot));
      prompt_of[slot] = kNone;
      ++n_done;
      if (done) done(n_done);
    }
  }
  return answers;
}

}  // namespace steelyard::generate
