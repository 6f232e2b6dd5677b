// Conversations that pass through a model: read from a file, rendered with the model's own chat template, tokenized so
// that what users wrote never becomes a control token. Calibration packs them into chunks; perplexity scores answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "chat/transcript.h"
#include "gguf/metadata.h"
#include "tokenizer/chunks.h"

namespace steelyard::jobs {

/// Not recorded in a result, which has the hash of both.
struct ConversationFiles {
  std::string conversations;  ///< JSON lines of messages (chat/conversations.h); empty: none
  std::string chat_template;  ///< file; empty: the model's own

  bool given() const { return !conversations.empty(); }

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("conversations", self.conversations);
    visit("chat_template", self.chat_template);
  }
};

/// Share of the chunks of a calibration that are conversations, where there is text as well. Not measured yet: what
/// leaves most of a text, and uses up the conversations that come with the program about once.
inline constexpr double kConversationsShare = 0.25;

/// What came of it.
struct ConversationFigures {
  int64_t n_conversations = 0, n_refused = 0;  ///< of the file; those of them that the template refuses
  std::string refusal;                         ///< the first: its conversation, from 1, and what the template says
  int64_t n_tokens = 0;                        ///< of all transcripts
  int64_t n_chunks = 0;                        ///< of calibration: that are conversations

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("n_conversations", self.n_conversations);
    visit("n_refused", self.n_refused);
    visit("refusal", self.refusal);
    visit("n_tokens", self.n_tokens);
    visit("n_chunks", self.n_chunks);
  }
};

class ConversationText {
 public:
  /// Reads the files: a pipe can be read once only. Error when that fails, and for what is no conversation.
  explicit ConversationText(ConversationFiles files);

  /// Renders. Conversations that the template refuses are left out. Error where it refuses all of them, where a model
  /// has no template, and where templates cannot be rendered at all: Jinja2 is missing.
  void read(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer);

  /// Of one conversation or several in a row.
  struct Entry {
    size_t conversation;  ///< number in the file, from 0
    chat::Transcript transcript;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<chat::Conversation>& conversations() const { return conversations_; }
  /// The template, from read() on.
  const chat::Template& chat() const { return *template_; }
  const ConversationFiles& files() const { return files_; }
  const ConversationFigures& figures() const { return figures_; }
  /// Of the conversations and of the template that rendered them.
  const std::string& sha256() const { return sha256_; }

  /// One after the other in chunks of n_ctx tokens, at most max_chunks (all if <= 0); a rest that fills no chunk is
  /// left out. A transcript that does not fit into its chunk goes on in the next one, as a text of its own, which
  /// begins with BOS where the model wants it. Error where there is not a single chunk.
  tokenizer::Chunks packed(int64_t n_ctx, int64_t max_chunks, std::optional<tokenizer::TokenId> bos) const;

 private:
  ConversationFiles files_;
  std::string content_hash_;
  std::vector<chat::Conversation> conversations_;
  std::optional<chat::TemplateSource> given_template_;
  std::unique_ptr<const chat::Template> template_;
  std::vector<Entry> entries_;
  ConversationFigures figures_;
  std::string sha256_;
};

}  // namespace steelyard::jobs
