#include "jobs/text_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/text_file.h"
#include "jobs/given_options.h"
#include "jobs/saved_text.h"

namespace steelyard::jobs {

void leave_out(std::vector<tokenizer::TokenId>& ids, int64_t chunks, int64_t n_ctx) {
  if (chunks < 0) fail("", "--from-chunk: expected a number from 0, found {}", chunks);
  // Where nothing is left, the number of tokens that Chunks finds too few is 0.
  if (chunks > 0 && n_ctx > 0) ids.erase(ids.begin(), ids.begin() + std::min(chunks, std::ssize(ids) / n_ctx) * n_ctx);
}

tokenizer::Chunks read_chunks(const TextOptions& options, const tokenizer::Tokenizer& tokenizer, int64_t max_chunks) {
  std::string content = read_text_file(options.file);
  if (is_saved_text(content)) {
    if (options.ppl_stride != 0) fail("", "--ppl-stride: the chunks of {} do not overlap", options.file);
    return parse_saved_text(content, tokenizer, options.file).as_chunks(options.from_chunk, max_chunks, options.file);
  }
  std::vector<tokenizer::TokenId> ids = tokenize_text(tokenizer, std::move(content), options.parse_special);
  leave_out(ids, options.from_chunk, options.ppl_stride > 0 ? options.ppl_stride : options.ctx_size);
  if (options.ppl_stride != 0) {
    return tokenizer::Chunks::strided(std::move(ids), options.ctx_size, options.ppl_stride, max_chunks, options.file);
  }
  return tokenizer::Chunks(std::move(ids), options.ctx_size, max_chunks, chunk_bos(tokenizer), options.file);
}

void ResumeOptions::check() const {
  if (resume.empty()) refuse_given(*this, {"save_every"}, "without --resume");
}

}  // namespace steelyard::jobs
