// The text of a job, cut into chunks of tokens, and where an interrupted run over it goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tokenizer/chunks.h"

namespace steelyard::jobs {

struct TextOptions {
  std::string file;            ///< "-": the standard input
  int64_t ctx_size = 512;      ///< tokens per chunk
  int64_t chunks = 0;          ///< at most so many; 0: all
  int64_t from_chunk = 0;      ///< so many chunks at the beginning of the text are left out
  int64_t ppl_stride = 0;      ///< chunks begin every so many tokens and score their last ones; 0: no overlap
  bool parse_special = false;  ///< text such as <|user|> becomes the token of that name

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("file", self.file);
    visit("ctx_size", self.ctx_size);
    visit("chunks", self.chunks);
    visit("from_chunk", self.from_chunk);
    visit("ppl_stride", self.ppl_stride);
    visit("parse_special", self.parse_special);
  }
};

/// Drops so many chunks of n_ctx tokens at the beginning of a text. Error for a number below 0.
void leave_out(std::vector<tokenizer::TokenId>& ids, int64_t chunks, int64_t n_ctx);

/// The chunks of the text, which may be a saved one (saved_text.h), at most `max_chunks`; <= 0: all. Error for a text
/// that is too short, or options out of range.
tokenizer::Chunks read_chunks(const TextOptions& options, const tokenizer::Tokenizer& tokenizer, int64_t max_chunks);

struct ResumeOptions {
  std::string resume;     ///< file for progress: the run goes on from it; empty: an interruption loses the run
  double save_every = 5;  ///< seconds

  std::chrono::milliseconds interval() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(save_every));
  }
  /// Error for a time between saves where there is no file.
  void check() const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("resume", self.resume);
    visit("save_every", self.save_every);
  }
};

}  // namespace steelyard::jobs
