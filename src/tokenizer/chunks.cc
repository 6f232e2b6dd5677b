#include "tokenizer/chunks.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "base/text_file.h"

namespace steelyard::tokenizer {

Chunks::Chunks(std::vector<TokenId> tokens, int64_t n_ctx, int64_t max_chunks, std::optional<TokenId> bos,
               const std::string& source)
    : tokens_(std::move(tokens)), n_ctx_(n_ctx), step_(n_ctx), first_scored_(n_ctx / 2), bos_(bos) {
  const auto n = static_cast<int64_t>(tokens_.size());
  if (n_ctx < 4) fail("", "context of {} tokens is too short, expected at least 4", n_ctx);
  if (n / 2 < n_ctx) fail(source, "{} tokens are too few, expected at least two contexts of {}", n, n_ctx);
  count_ = n / n_ctx;
  if (max_chunks > 0) count_ = std::min(count_, max_chunks);
}

Chunks Chunks::strided(std::vector<TokenId> tokens, int64_t n_ctx, int64_t stride, int64_t max_chunks,
                       const std::string& source) {
  constexpr int64_t kMultiple = 256;
  const auto n = static_cast<int64_t>(tokens.size());
  if (n_ctx < 4) fail("", "context of {} tokens is too short, expected at least 4", n_ctx);
  if (stride < 1 || stride > n_ctx) fail("", "stride is {}, expected 1 to {}, the context", stride, n_ctx);
  if (n / 2 < n_ctx) fail(source, "{} tokens are too few, expected at least two contexts of {}", n, n_ctx);
  Chunks chunks;
  chunks.n_ctx_ = (n_ctx + stride / 2 + kMultiple - 1) / kMultiple * kMultiple;
  if (n / 2 < chunks.n_ctx_) {
    fail(source, "{} tokens are too few, expected at least two chunks of {}", n, chunks.n_ctx_);
  }
  chunks.tokens_ = std::move(tokens);
  chunks.step_ = stride;
  chunks.first_scored_ = chunks.n_ctx_ - stride - 1;
  chunks.count_ = (n - chunks.n_ctx_ + stride - 1) / stride;
  if (max_chunks > 0) chunks.count_ = std::min(chunks.count_, max_chunks);
  return chunks;
}

Chunks Chunks::written(std::vector<std::vector<TokenId>> chunks, std::vector<std::vector<int64_t>> starts,
                       int64_t n_ctx, const std::string& source) {
  STEELYARD_CHECK(chunks.size() == starts.size());
  if (n_ctx < 4) fail("", "context of {} tokens is too short, expected at least 4", n_ctx);
  if (chunks.empty()) fail(source, "has no chunks");
  Chunks result;
  result.n_ctx_ = result.step_ = n_ctx;
  result.first_scored_ = n_ctx / 2;
  result.count_ = std::ssize(chunks);
  for (const std::vector<TokenId>& chunk : chunks) {
    if (std::ssize(chunk) != n_ctx) fail(source, "a chunk has {} tokens, expected {}", chunk.size(), n_ctx);
    result.tokens_.insert(result.tokens_.end(), chunk.begin(), chunk.end());
  }
  result.starts_ = std::move(starts);
  return result;
}

std::span<const int64_t> Chunks::starts(int64_t c) const {
  static constexpr int64_t kOneText[] = {0};
  return starts_.empty() ? std::span<const int64_t>(kOneText) : starts_[static_cast<size_t>(c)];
}

std::vector<TokenId> Chunks::input(int64_t c) const {
  const auto begin = tokens_.begin() + c * step_;
  std::vector<TokenId> ids(begin, begin + n_ctx_);
  if (bos_) ids.front() = *bos_;
  return ids;
}

std::span<const TokenId> Chunks::targets(int64_t c) const {
  return std::span(tokens_).subspan(static_cast<size_t>(c * step_ + first_scored_ + 1),
                                    static_cast<size_t>(n_scored()));
}

std::vector<TokenId> tokenize_text(const Tokenizer& tokenizer, std::string text, bool parse_special) {
  if (text.ends_with('\n')) text.pop_back();
  return tokenizer.encode(text, /*add_special=*/true, parse_special);
}

std::vector<TokenId> tokenize_file(const Tokenizer& tokenizer, const std::string& path, bool parse_special) {
  return tokenize_text(tokenizer, read_text_file(path), parse_special);
}

std::optional<TokenId> chunk_bos(const Tokenizer& tokenizer) {
  return tokenizer.add_bos() ? tokenizer.bos() : std::nullopt;
}

}  // namespace steelyard::tokenizer
