// What calibration passes through a model: a text file, a text that a model has written and saved, text that the model
// writes now, conversations, or a mixture. Used by imatrix, quantize, tune and search.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "jobs/conversation_text.h"
#include "jobs/given_options.h"
#include "jobs/own_text.h"

namespace steelyard::jobs {

/// "FILE", "self", "self:65536" (tokens), "self+FILE", "self:65536+FILE". A file called "self" is "./self".
struct TextSource {
  bool own = false;        ///< the model writes
  int64_t own_tokens = 0;  ///< so many, rounded up to whole chunks; 0: all chunks, with a file a share of them
  std::string file;        ///< empty: none

  /// Error for a number that is none, and for "self+" without a file.
  static TextSource parse(const std::string& text);
  /// Options about a text that this one has no use for: of what the model writes, or of what a file has.
  OptionNames unused() const;
  /// No text at all.
  bool empty() const { return !own && file.empty(); }
  /// The same without folders, which change: as it is recorded.
  std::string recorded() const;
};

/// Error for a text that the model writes, where several processes would have to: `steelyard write` does it before.
void refuse_own_text(const TextSource& source);

/// Who writes and what becomes of it. Not recorded in a result, which has the text's hash.
struct WriterFiles {
  std::string writer;     ///< model file that writes: a smaller one of the same model; empty: the model itself
  std::string save_text;  ///< file to keep the text in (jobs/saved_text.h); empty: it is not kept

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("writer", self.writer);
    visit("save_text", self.save_text);
  }
};

struct CalibrationTextSettings {
  TextSource source;
  int64_t n_ctx = 512;
  int64_t n_chunks = 0;        ///< at most so many; 0: as many as are enough, of a saved text all
  bool whole_file = false;     ///< 0 means all of a plain text, too
  int64_t from_chunk = 0;      ///< so many at the beginning of the file are left out
  bool parse_special = false;  ///< in a plain text
  double own_share = 0;        ///< of the chunks, where a file has the others
  WritingOptions writing;
  WriterFiles files;
  ConversationFiles conversations;
  double conversations_share = kConversationsShare;  ///< of the chunks, where there is text as well
  ModelOptions model;                                ///< that the text is for, and where the writer computes
  ResumeOptions progress;                            ///< of the writing
  bool replace = false;                              ///< progress of another text, instead of refusing it
  uint64_t memory = 0;                               ///< bytes that writing may use; 0: most of what there is
  bool grows = false;  ///< write_more() may follow: what an earlier run has written of it is there at once
};

class CalibrationText {
 public:
  /// Reads the files: a pipe can be read once only. Error when that fails, and for options out of range.
  explicit CalibrationText(CalibrationTextSettings settings);

  /// Now there are chunks. The template of conversations is that of settings.model, unless another is given. Progress:
  /// stage "write" while the model writes. Error for a file that is too short or was
  /// written by a model of another vocabulary, for a writer of another vocabulary, for a file to keep the text in that
  /// cannot be written, and as OwnText. All of it shows before the model writes.
  void read(const tokenizer::Tokenizer& tokenizer, const model::ModelConfig& config, const ProgressCallback& progress);
  /// Own text alone: adds as many chunks as it began with.
  void write_more(const ProgressCallback& progress);
  /// Removes the progress.
  void finish();
  /// For who removes it later.
  ResumeFile take_progress();

  const TextSource& source() const { return settings_.source; }
  /// The n_chunks with which it is read again the same: what is to be recorded.
  int64_t n_chunks() const { return settings_.n_chunks; }
  const tokenizer::Chunks& chunks() const { return *chunks_; }
  /// Chunks that it began with, before write_more() in this run or an earlier one.
  int64_t n_first() const { return n_first_; }
  /// As it is recorded: names without folders.
  std::string recorded() const;
  /// Of a file its own, of own text that of the saved file, of a mixture that of both.
  const std::string& sha256() const { return sha256_; }
  /// Where the model has written.
  std::optional<WritingFigures> writing() const;
  /// Where there are conversations.
  std::optional<ConversationFigures> conversations() const;

 private:
  tokenizer::Chunks read_file_chunks(const tokenizer::Tokenizer& tokenizer, int64_t n_chunks) const;
  void read_text(const tokenizer::Tokenizer& tokenizer, int64_t n_chunks, const ProgressCallback& progress);
  void add_conversations(const tokenizer::Tokenizer& tokenizer, const ProgressCallback& progress);
  void open_writer(const tokenizer::Tokenizer& tokenizer);
  tokenizer::Chunks write_chunks(int64_t n_chunks, const ProgressCallback& progress);

  CalibrationTextSettings settings_;
  std::string content_;  // of the file
  std::optional<OpenModel> writer_;
  std::optional<tokenizer::Tokenizer> tokenizer_;  // of the writer
  std::optional<OwnText> own_;
  std::optional<ConversationText> conversations_;
  std::optional<ConversationFigures> conversation_figures_;
  std::optional<tokenizer::Chunks> chunks_;
  int64_t n_first_ = 0;
  std::string sha256_;
};

/// Chunks of a calibration text after which more bring little: 65,536 tokens, and with experts as many as give each of
/// them 3,000 on average (docs/calibration.md).
int64_t enough_chunks(const model::ModelConfig& config, int64_t n_ctx);

}  // namespace steelyard::jobs
