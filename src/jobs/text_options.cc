#include "jobs/text_options.h"

namespace steelyard::jobs {

Chunks read_chunks(const TextOptions& options, const Tokenizer& tokenizer, int64_t max_chunks) {
  std::vector<TokenId> ids = tokenize_file(tokenizer, options.file, options.parse_special);
  if (options.ppl_stride != 0) {
    return Chunks::strided(std::move(ids), options.ctx_size, options.ppl_stride, max_chunks, options.file);
  }
  return Chunks(std::move(ids), options.ctx_size, max_chunks, chunk_bos(tokenizer), options.file);
}

}  // namespace steelyard::jobs
