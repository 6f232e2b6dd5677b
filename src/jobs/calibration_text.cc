#include "jobs/calibration_text.h"

namespace steelyard::jobs {

tokenizer::Chunks chunks_of(std::string content, const tokenizer::Tokenizer& tokenizer, int64_t n_ctx,
                            int64_t max_chunks, bool parse_special, const std::string& where) {
  if (!is_saved_text(content)) {
    return {tokenize_text(tokenizer, std::move(content), parse_special), n_ctx, max_chunks, chunk_bos(tokenizer),
            where};
  }
  SavedText text = parse_saved_text(content, tokenizer, where);
  if (max_chunks > 0 && max_chunks < std::ssize(text.chunks)) text.chunks.resize(static_cast<size_t>(max_chunks));
  return text.as_chunks(where);
}

}  // namespace steelyard::jobs
