// The file that keeps a text that a model has written, as JSON lines: ids say what passes through a model, the text is
// for people. The first line says how it was written:
//
//   {"steelyard_text": 1, "vocabulary": SHA-256, "n_ctx": 512, "n_chunks": 64, "write": {...}}
//
// and every other line is a chunk: {"ids": [...], "starts": [...], "text": [...]}. `starts` has the positions where
// texts begin, and `text` these texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "generate/writer.h"
#include "jobs/json.h"
#include "tokenizer/chunks.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::jobs {

struct SavedText {
  int64_t n_ctx = 0;
  Json write;  ///< options of the job that wrote it (jobs/write.h)
  std::vector<generate::WrittenChunk> chunks;

  /// From one on, at most n_chunks of them; <= 0: all. Error where there are none, and for a number below 0.
  tokenizer::Chunks as_chunks(int64_t from_chunk, int64_t n_chunks, const std::string& source) const;
};

/// SHA-256 of the vocabulary: texts pass only through models with the same.
std::string vocabulary_hash(const tokenizer::Tokenizer& tokenizer);

/// The content of the file with the first n_chunks of the text.
std::string print(const SavedText& text, int64_t n_chunks, const tokenizer::Tokenizer& tokenizer);

/// Whether the content of a file is such a text.
bool is_saved_text(std::string_view content);

/// `where`: the file's name. Error for content that is damaged, and for a text of another vocabulary.
SavedText parse_saved_text(std::string_view content, const tokenizer::Tokenizer& tokenizer, const std::string& where);

}  // namespace steelyard::jobs
