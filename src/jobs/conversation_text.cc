#include "jobs/conversation_text.h"

#include "base/error.h"
#include "base/sha256.h"
#include "base/text_file.h"

namespace steelyard::jobs {
namespace {

// What the time is for templates that write the date: equal inputs give equal tokens.
constexpr const char* kNow = "2026-01-01T12:00:00";

}  // namespace

ConversationText::ConversationText(ConversationFiles files) : files_(std::move(files)) {
  const std::string content = read_text_file(files_.conversations);
  content_hash_ = steelyard::sha256(content);
  conversations_ = chat::parse_conversations(content, files_.conversations);
  if (!files_.chat_template.empty()) given_template_ = chat::TemplateSource::load(files_.chat_template);
  figures_.n_conversations = std::ssize(conversations_);
}

void ConversationText::read(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer) {
  const chat::TemplateSource source = given_template_ ? *given_template_ : chat::TemplateSource::of(metadata);
  sha256_ = steelyard::sha256(content_hash_ + "\n" + steelyard::sha256(source.text) + "\n" +
                              steelyard::sha256(source.tool_use));
  chat::TemplateOptions options;
  options.now = kNow;
  template_ = std::make_unique<const chat::Template>(source, &tokenizer, options);
  for (size_t i = 0; i < conversations_.size(); ++i) {
    try {
      for (chat::Transcript& transcript : transcripts(*template_, tokenizer, conversations_[i])) {
        figures_.n_tokens += std::ssize(transcript.ids);
        entries_.push_back({i, std::move(transcript)});
      }
    } catch (const chat::TemplateError& error) {
      if (figures_.n_refused++ == 0) figures_.refusal = fmt::format("conversation {}: {}", i + 1, error.what());
    }
  }
  if (entries_.empty()) fail(files_.conversations, "the template refuses every conversation; {}", figures_.refusal);
}

tokenizer::Chunks ConversationText::packed(int64_t n_ctx, int64_t max_chunks,
                                           std::optional<tokenizer::TokenId> bos) const {
  std::vector<std::vector<tokenizer::TokenId>> chunks;
  std::vector<std::vector<int64_t>> starts;
  const auto is_full = [&] { return chunks.empty() || std::ssize(chunks.back()) == n_ctx; };
  const auto enough = [&] { return is_full() && max_chunks > 0 && std::ssize(chunks) >= max_chunks; };
  for (const Entry& entry : entries_) {
    std::span<const tokenizer::TokenId> rest = entry.transcript.ids;
    while (!rest.empty() && !enough()) {
      if (is_full()) chunks.emplace_back(), starts.emplace_back();
      std::vector<tokenizer::TokenId>& chunk = chunks.back();
      starts.back().push_back(std::ssize(chunk));
      const bool goes_on = rest.size() < entry.transcript.ids.size();
      if (goes_on && bos) chunk.push_back(*bos);
      const size_t n = std::min(rest.size(), static_cast<size_t>(n_ctx) - chunk.size());
      chunk.insert(chunk.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(n));
      rest = rest.subspan(n);
    }
    if (enough()) break;
  }
  if (!is_full()) chunks.pop_back(), starts.pop_back();
  if (chunks.empty()) {
    fail(files_.conversations, "{} tokens of conversations are too few for a chunk of {}", figures_.n_tokens, n_ctx);
  }
  return tokenizer::Chunks::written(std::move(chunks), std::move(starts), n_ctx, files_.conversations);
}

}  // namespace steelyard::jobs
