// What calibration passes through a model: chunks of a text file, of a text that a model has written, or of both.
#pragma once

#include <string>

#include "jobs/saved_text.h"

namespace steelyard::jobs {

/// Chunks of a file's content, at most max_chunks: as saved_text.h has them, or cut from plain text.
tokenizer::Chunks chunks_of(std::string content, const tokenizer::Tokenizer& tokenizer, int64_t n_ctx,
                            int64_t max_chunks, bool parse_special, const std::string& where);

}  // namespace steelyard::jobs
