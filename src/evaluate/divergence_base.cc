#include "evaluate/divergence_base.h"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/sha256.h"
#include "evaluate/compact_base.h"
#include "evaluate/llama_base.h"

namespace steelyard::evaluate {

std::unique_ptr<DivergenceBase> DivergenceBase::open(const std::string& path) {
  MappedFile file(path);
  const auto begins_with = [&](std::string_view magic) {
    return file.bytes().size() >= magic.size() && std::memcmp(file.bytes().data(), magic.data(), magic.size()) == 0;
  };
  if (begins_with(LlamaBase::kMagic)) return std::make_unique<LlamaBase>(std::move(file));
  if (begins_with(CompactBase::kMagic)) return std::make_unique<CompactBase>(std::move(file));
  fail(path, "is not a file of base log-probabilities");
}

void DivergenceBase::set_counts(int64_t n_ctx, int64_t n_vocab, int64_t n_chunks, int64_t first_scored) {
  if (n_ctx < 4 || n_vocab < 1 || n_chunks < 1 || std::max({n_ctx, n_vocab, n_chunks}) > INT32_MAX) {
    fail(path(), "header says context {}, vocabulary {}, chunks {}: damaged", n_ctx, n_vocab, n_chunks);
  }
  n_ctx_ = n_ctx;
  n_vocab_ = n_vocab;
  n_chunks_ = n_chunks;
  first_scored_ = first_scored < 0 ? n_ctx / 2 : first_scored;
  if (first_scored_ > n_ctx - 2) fail(path(), "header says position {} of {}: damaged", first_scored, n_ctx);
}

void DivergenceBase::check_length(uint64_t tokens_begin, uint64_t between, uint64_t row_bytes) {
  // Each count is below 2^31, so products of two fit.
  const uint64_t token_bytes = static_cast<uint64_t>(n_chunks_ * n_ctx_) * sizeof(tokenizer::TokenId);
  const auto data_bytes = checked_mul(static_cast<uint64_t>(n_chunks_ * n_scored()), row_bytes);
  const auto before = checked_add(tokens_begin + token_bytes, between);
  const auto expected = data_bytes && before ? checked_add(*data_bytes, *before) : std::nullopt;
  if (!expected || bytes().size() < *expected) {
    fail(path(), "has {} bytes, fewer than {} chunks of context {} and vocabulary {} need: truncated", bytes().size(),
         n_chunks_, n_ctx_, n_vocab_);
  }
  tokens_begin_ = tokens_begin;
  rows_begin_ = *before;
  row_bytes_ = row_bytes;
}

std::span<const std::byte> DivergenceBase::row(int64_t chunk, int64_t index) const {
  return bytes().subspan(rows_begin_ + static_cast<uint64_t>(chunk * n_scored() + index) * row_bytes_, row_bytes_);
}

void DivergenceBase::release(int64_t chunk) const {
  const uint64_t chunk_bytes = static_cast<uint64_t>(n_scored()) * row_bytes_;
  const uint64_t begin = rows_begin_ + static_cast<uint64_t>(chunk) * chunk_bytes;
  file_.release(begin, begin + chunk_bytes);
}

std::vector<tokenizer::TokenId> DivergenceBase::tokens() const {
  ByteReader in(bytes(), path());
  in.seek(tokens_begin_);
  return in.values<tokenizer::TokenId>(static_cast<uint64_t>(n_chunks_ * n_ctx_));
}

std::string DivergenceBase::digest() const {
  Sha256 hash;
  hash.update(std::to_string(bytes().size()));
  hash.update(bytes().first(std::min<size_t>(bytes().size(), size_t{1} << 20)));
  return hash.hex();
}

void DivergenceBase::require(const tokenizer::Chunks& chunks, const ModelIdentity& model) const {
  if (n_vocab_ != model.n_vocab) {
    fail(path(), "was made with a vocabulary of {}, the model has {}", n_vocab_, model.n_vocab);
  }
  if (n_ctx_ != chunks.n_ctx()) fail(path(), "was made with context {}, not {}", n_ctx_, chunks.n_ctx());
  if (first_scored_ != chunks.first_scored()) {
    fail(path(), "has the positions from {} on of each chunk, not from {} on", first_scored_, chunks.first_scored());
  }
  if (n_chunks_ < chunks.count()) fail(path(), "has {} chunks, {} are wanted", n_chunks_, chunks.count());
  const auto ids = tokens();
  if (!std::ranges::equal(chunks.tokens(), std::span(ids).first(chunks.tokens().size()))) {
    fail(path(), "was made with another text or tokenizer");
  }
}

std::unique_ptr<DivergenceBaseEncoder> DivergenceBaseEncoder::create(BaseLayout layout, const tokenizer::Chunks& chunks,
                                                                     const ModelIdentity& model) {
  if (layout == BaseLayout::kLlama) return std::make_unique<LlamaBaseEncoder>(model.n_vocab);
  return std::make_unique<CompactBaseEncoder>(chunks, model);
}

DivergenceBaseWriter::DivergenceBaseWriter(const std::string& path, std::optional<AtomicFile::Resume> resume)
    : file_(resume ? std::make_unique<AtomicFile>(path, *resume) : std::make_unique<AtomicFile>(path)) {}

uint64_t DivergenceBaseWriter::make_durable() {
  file_->sync();
  return file_->size();
}

std::unique_ptr<DivergenceBaseWriter> DivergenceBaseWriter::create(BaseLayout layout, const std::string& path,
                                                                   const tokenizer::Chunks& chunks,
                                                                   const ModelIdentity& model,
                                                                   std::optional<AtomicFile::Resume> resume,
                                                                   const std::string& note) {
  if (layout == BaseLayout::kLlama) {
    return std::make_unique<LlamaBaseWriter>(path, chunks, model.n_vocab, resume);
  }
  return std::make_unique<CompactBaseWriter>(path, chunks, model, resume, note);
}

}  // namespace steelyard::evaluate
