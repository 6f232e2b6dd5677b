#include "jobs/text_options.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::jobs {

tokenizer::Chunks read_chunks(const TextOptions& options, const tokenizer::Tokenizer& tokenizer, int64_t max_chunks) {
  std::vector<tokenizer::TokenId> ids = tokenize_file(tokenizer, options.file, options.parse_special);
  if (options.from_chunk < 0) fail("", "--from-chunk: expected a number from 0, found {}", options.from_chunk);
  const int64_t step = options.ppl_stride > 0 ? options.ppl_stride : options.ctx_size;
  // Where nothing is left, the number of tokens that Chunks finds too few is 0.
  if (options.from_chunk > 0 && step > 0) {
    const int64_t most = std::ssize(ids) / step;
    ids.erase(ids.begin(), ids.begin() + std::min(options.from_chunk, most) * step);
  }
  if (options.ppl_stride != 0) {
    return tokenizer::Chunks::strided(std::move(ids), options.ctx_size, options.ppl_stride, max_chunks, options.file);
  }
  return tokenizer::Chunks(std::move(ids), options.ctx_size, max_chunks, chunk_bos(tokenizer), options.file);
}

}  // namespace steelyard::jobs
