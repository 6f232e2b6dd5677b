#include "generate/batch_decoder.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/error.h"
#include "base/parallel.h"
#include "schedule/non_finite.h"

namespace steelyard::generate {
namespace {

// Of logits at a time: a large vocabulary times many texts would be more than the rest of the memory.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

}  // namespace

BatchDecoder::BatchDecoder(const model::Model& model, int64_t n_context, int64_t n_slots)
    : model_(model),
      n_slots_(std::max<int64_t>(n_slots, 2)),  // one of them pads the last text of all
      session_(model, n_context, n_slots_),
      pending_(static_cast<size_t>(n_slots_)) {}

void BatchDecoder::clear(int64_t slot) {
  session_.reset(slot);
  pending_[static_cast<size_t>(slot)].clear();
}

void BatchDecoder::append(int64_t slot, std::span<const tokenizer::TokenId> ids) {
  std::vector<tokenizer::TokenId>& pending = pending_[static_cast<size_t>(slot)];
  pending.insert(pending.end(), ids.begin(), ids.end());
}

// The last rows of the slots that have tokens pending, one after the other, and the last of all once more.
compute::Matrix BatchDecoder::last_rows(compute::Matrix hidden_states) {
  compute::Backend& backend = model_.backend();
  const int64_t width = hidden_states.cols;
  if (!last_rows_) last_rows_ = backend.allocate(static_cast<size_t>((n_slots_ + 1) * width) * sizeof(float));
  compute::Matrix rows{reinterpret_cast<float*>(last_rows_.get()), 0, width, width};
  int64_t end = 0;
  for (const auto& pending : pending_) {
    if (pending.empty()) continue;
    end += std::ssize(pending);
    ++rows.rows;
    backend.copy(hidden_states.slice(end - 1, 1), {rows.row(rows.rows - 1), 1, width, width});
  }
  backend.copy(hidden_states.slice(end - 1, 1), {rows.row(rows.rows), 1, width, width});
  ++rows.rows;
  return rows;
}

void BatchDecoder::use_logits(std::span<const int64_t> slots, compute::Matrix rows, const Use& use) {
  const compute::Matrix logits = session_.logits(rows);
  logits_.resize(static_cast<size_t>(logits.rows * logits.cols));
  model_.backend().download(logits_.data(), logits.data, logits_.size() * sizeof(float));
  parallel_for(std::ssize(slots), 1, [&](int64_t i) {
    const int64_t slot = slots[static_cast<size_t>(i)];
    const auto own = std::span(logits_).subspan(static_cast<size_t>(i * logits.cols), static_cast<size_t>(logits.cols));
    if (!std::ranges::all_of(own, [](float logit) { return std::isfinite(logit); })) {
      fail("", "the logits after token {} are not finite: first in {}", session_.position(slot),
           schedule::first_non_finite(model_, session_.ids(slot)));
    }
    use(slot, own);
  });
}

void BatchDecoder::step(const Use& use) {
  std::vector<schedule::SequenceTokens> batch;
  std::vector<int64_t> slots;
  for (int64_t slot = 0; slot < n_slots_; ++slot) {
    const auto& pending = pending_[static_cast<size_t>(slot)];
    if (pending.empty()) continue;
    batch.push_back({slot, pending});
    slots.push_back(slot);
  }
  STEELYARD_CHECK(!slots.empty());
  // A single row gets company: the same token as another text.
  const bool alone = batch.size() == 1 && batch[0].ids.size() == 1;
  const int64_t company = slots[0] == 0 ? 1 : 0;
  if (alone) {
    STEELYARD_CHECK(session_.position(company) == 0);
    batch.push_back({company, batch[0].ids});
  }
  const compute::Matrix hidden_states = session_.forward_batch(batch);
  if (alone) session_.reset(company);
  const compute::Matrix rows = last_rows(hidden_states);
  // As many rows at a time as fit, and the one after them for company.
  const int64_t each = std::max<int64_t>(1, kLogitBytes / (model_.config().n_vocab * int64_t{sizeof(float)}));
  for (int64_t first = 0; first < std::ssize(slots); first += each) {
    const int64_t n = std::min(each, std::ssize(slots) - first);
    use_logits(std::span(slots).subspan(static_cast<size_t>(first), static_cast<size_t>(n)), rows.slice(first, n + 1),
               use);
  }
  for (auto& pending : pending_) pending.clear();
}

}  // namespace steelyard::generate
