#include "jobs/text_options.h"

namespace steelyard::jobs {

tokenizer::Chunks read_chunks(const TextOptions& options, const tokenizer::Tokenizer& tokenizer, int64_t max_chunks) {
  std::vector<tokenizer::TokenId> ids = tokenize_file(tokenizer, options.file, options.parse_special);
  if (options.ppl_stride != 0) {
    return tokenizer::Chunks::strided(std::move(ids), options.ctx_size, options.ppl_stride, max_chunks, options.file);
  }
  return tokenizer::Chunks(std::move(ids), options.ctx_size, max_chunks, chunk_bos(tokenizer), options.file);
}

}  // namespace steelyard::jobs
