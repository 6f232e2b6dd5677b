#include "jobs/conversation_scores.h"

#include <algorithm>
#include <bit>

#include "evaluate/perplexity.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kLeastContext = 64, kFirstStretch = 128;

// The transcripts that each chunk holds, first-fit in the order of the file.
std::vector<std::vector<size_t>> places(const std::vector<ConversationText::Entry>& entries, int64_t n_ctx) {
  std::vector<std::vector<size_t>> chunks;
  std::vector<int64_t> used;
  for (size_t e = 0; e < entries.size(); ++e) {
    const int64_t n = std::min(std::ssize(entries[e].transcript.ids), n_ctx);
    size_t chunk = 0;
    while (chunk < used.size() && used[chunk] + n > n_ctx) ++chunk;
    if (chunk == used.size()) used.push_back(0), chunks.emplace_back();
    chunks[chunk].push_back(e);
    used[chunk] += n;
  }
  return chunks;
}

int64_t longest(const ConversationText& text) {
  int64_t n = kLeastContext;
  for (const ConversationText::Entry& entry : text.entries()) n = std::max(n, std::ssize(entry.transcript.ids));
  return n;
}

TokenFigures figures(std::span<const evaluate::TokenScore> scores, bool with_base) {
  TokenFigures of;
  of.n_tokens = std::ssize(scores);
  of.perplexity = evaluate::perplexity(scores).perplexity;
  if (!with_base) return of;
  std::vector<double> klds;
  int64_t n_same = 0;
  for (const evaluate::TokenScore& score : scores) {
    klds.push_back(score.kld);
    n_same += score.same_top;
  }
  const evaluate::MeanEstimate kld = evaluate::mean_estimate(klds);
  of.mean_kld = kld.mean;
  of.mean_kld_standard_error = kld.standard_error;
  of.same_top = static_cast<double>(n_same) / static_cast<double>(scores.size());
  return of;
}

}  // namespace

// The first token of a text is predicted by nothing that is looked at; that of a chunk is by no position at all.
ScoredConversations::ScoredConversations(const ConversationText& text, int64_t n_ctx, int64_t most)
    : figures_(text.figures()) {
  if (n_ctx == 0) n_ctx = std::min(longest(text), most);
  const auto& entries = text.entries();
  std::vector<std::vector<tokenizer::TokenId>> ids;
  std::vector<std::vector<int64_t>> starts;
  for (const std::vector<size_t>& in_chunk : places(entries, n_ctx)) {
    std::vector<tokenizer::TokenId>& chunk = ids.emplace_back();
    std::vector<int64_t>& chunk_starts = starts.emplace_back();
    std::vector<Predicted> predicted;
    for (const size_t e : in_chunk) {
      const auto& [tokens, roles] = entries[e].transcript;
      const int64_t n = std::min(std::ssize(tokens), n_ctx);
      if (std::ssize(tokens) > n) ++n_cut_;
      chunk_starts.push_back(std::ssize(chunk));
      chunk.insert(chunk.end(), tokens.begin(), tokens.begin() + n);
      predicted.emplace_back();
      for (int64_t i = 1; i < n; ++i) predicted.push_back({roles[static_cast<size_t>(i)], i});
    }
    if (std::ssize(chunk) < n_ctx) chunk_starts.push_back(std::ssize(chunk));
    for (size_t i = 0; std::ssize(chunk) < n_ctx; ++i) chunk.push_back(chunk[i]);
    predicted.resize(chunk.size());
    predicted_.insert(predicted_.end(), predicted.begin() + 1, predicted.end());
  }
  chunks_ = tokenizer::Chunks::written(std::move(ids), std::move(starts), n_ctx, text.files().conversations);
  chunks_->score_from(0);
}

std::optional<chat::Role> ScoredConversations::role(size_t index) const { return predicted_[index].role; }

std::vector<evaluate::TokenScore> ScoredConversations::answers(std::span<const evaluate::TokenScore> scores) const {
  std::vector<evaluate::TokenScore> found;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (role(i) == chat::Role::kAssistant) found.push_back(scores[i]);
  }
  return found;
}

ConversationScores ScoredConversations::scores(std::span<const evaluate::TokenScore> scores, bool with_base) const {
  ConversationScores result{.text = figures_, .n_cut = n_cut_, .roles = {}, .positions = {}, .tool_calls = {}};
  std::vector<std::vector<evaluate::TokenScore>> by_role(chat::kRoles), by_stretch;
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto& [role, position] = predicted_[i];
    if (!role || *role == chat::Role::kRepeated) continue;
    by_role[static_cast<size_t>(*role)].push_back(scores[i]);
    if (*role != chat::Role::kAssistant) continue;
    // 0 to 127, 128 to 255, 256 to 511, ...
    const auto stretch = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(position / kFirstStretch)));
    by_stretch.resize(std::max(by_stretch.size(), stretch + 1));
    by_stretch[stretch].push_back(scores[i]);
  }
  for (size_t r = 0; r < by_role.size(); ++r) {
    if (by_role[r].empty()) continue;
    TokenFigures& of = result.roles.emplace_back(figures(by_role[r], with_base));
    of.role = name(static_cast<chat::Role>(r));
    of.end = chunks_->n_ctx();
  }
  for (size_t k = 0; k < by_stretch.size(); ++k) {
    if (by_stretch[k].empty()) continue;
    TokenFigures& of = result.positions.emplace_back(figures(by_stretch[k], with_base));
    of.role = name(chat::Role::kAssistant);
    of.first = k == 0 ? 0 : kFirstStretch << (k - 1);
    of.end = std::min(kFirstStretch << k, chunks_->n_ctx());
  }
  return result;
}

}  // namespace steelyard::jobs
