#include "evaluate/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"

namespace steelyard {
namespace {

constexpr std::string_view kMagic = "_logits_";
constexpr size_t kHeaderBytes = 8 + 3 * sizeof(int32_t);
// Logits further than this below the maximum are stored as if they were this far, and take no part in the divergence.
constexpr float kClip = 16.0f;

// A row is float scale, float min_log_prob, then one uint16 code per token, padded to an even number.
size_t row_values(int64_t n_vocab) { return static_cast<size_t>(2 * ((n_vocab + 1) / 2) + 4); }

template <typename T>
T read_at(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace

DivergenceBase::DivergenceBase(const std::string& path) : file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(path, "is not a file of base log-probabilities");
  }
  n_ctx_ = read_at<int32_t>(bytes, 8);
  n_vocab_ = read_at<int32_t>(bytes, 12);
  n_chunks_ = read_at<int32_t>(bytes, 16);
  if (n_ctx_ < 4 || n_vocab_ < 1 || n_chunks_ < 1) {
    fail(path, "header says context {}, vocabulary {}, chunks {}: damaged", n_ctx_, n_vocab_, n_chunks_);
  }
  n_scored_ = n_ctx_ - 1 - n_ctx_ / 2;
  tokens_begin_ = kHeaderBytes;
  row_bytes_ = row_values(n_vocab_) * sizeof(uint16_t);
  // Each factor is below 2^31, so the first products fit; the total is checked.
  const uint64_t token_bytes = static_cast<uint64_t>(n_chunks_) * static_cast<uint64_t>(n_ctx_) * sizeof(int32_t);
  const auto data_bytes = checked_mul(static_cast<uint64_t>(n_chunks_) * static_cast<uint64_t>(n_scored_), row_bytes_);
  const auto expected = data_bytes ? checked_add(*data_bytes, kHeaderBytes + token_bytes) : std::nullopt;
  if (!expected || bytes.size() < *expected) {
    fail(path, "has {} bytes, fewer than {} chunks of context {} and vocabulary {} need: truncated", bytes.size(),
         n_chunks_, n_ctx_, n_vocab_);
  }
  rows_begin_ = kHeaderBytes + token_bytes;
}

std::vector<TokenId> DivergenceBase::tokens() const {
  std::vector<TokenId> ids(static_cast<size_t>(n_chunks_ * n_ctx_));
  std::memcpy(ids.data(), file_.bytes().data() + tokens_begin_, ids.size() * sizeof(TokenId));
  return ids;
}

void DivergenceBase::require(const Chunks& chunks, int64_t n_vocab) const {
  if (n_vocab_ != n_vocab) fail(file_.path(), "was made with a vocabulary of {}, the model has {}", n_vocab_, n_vocab);
  if (n_ctx_ != chunks.n_ctx()) fail(file_.path(), "was made with context {}, not {}", n_ctx_, chunks.n_ctx());
  if (n_chunks_ < chunks.count()) fail(file_.path(), "has {} chunks, {} are wanted", n_chunks_, chunks.count());
  const auto ids = tokens();
  if (!std::ranges::equal(chunks.tokens(), std::span(ids).first(chunks.tokens().size()))) {
    fail(file_.path(), "was made with another text or tokenizer");
  }
}

void DivergenceBase::log_probs(int64_t chunk, int64_t index, std::span<float> out) const {
  const size_t at = rows_begin_ + static_cast<size_t>(chunk * n_scored_ + index) * row_bytes_;
  const auto scale = read_at<float>(file_.bytes(), at);
  const auto min_log_prob = read_at<float>(file_.bytes(), at + sizeof(float));
  const std::byte* codes = file_.bytes().data() + at + 2 * sizeof(float);
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t code;
    std::memcpy(&code, codes + i * sizeof(code), sizeof(code));
    out[i] = scale * static_cast<float>(code) + min_log_prob;
  }
}

DivergenceBaseWriter::DivergenceBaseWriter(const std::string& path, const Chunks& chunks, int64_t n_vocab)
    : file_(path), row_(row_values(n_vocab)) {
  const auto n_rows = static_cast<uint64_t>(chunks.count() * chunks.n_scored());
  file_.reserve(kHeaderBytes + chunks.tokens().size_bytes() + n_rows * row_.size() * sizeof(uint16_t));
  const int32_t header[] = {static_cast<int32_t>(chunks.n_ctx()), static_cast<int32_t>(n_vocab),
                            static_cast<int32_t>(chunks.count())};
  file_.append(kMagic);
  file_.append(std::as_bytes(std::span(header)));
  file_.append(std::as_bytes(chunks.tokens()));
}

void DivergenceBaseWriter::add(const ScoredLogits& rows) {
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    const auto x = rows.values.subspan(static_cast<size_t>(r * rows.n_vocab), static_cast<size_t>(rows.n_vocab));
    const auto [smallest, largest] = std::ranges::minmax(x);
    const float floor = std::max(smallest, largest - kClip);
    const float scale = (largest - floor) / 65535.0f;
    const auto min_log_prob = static_cast<float>(static_cast<double>(floor) - log_normalizer(x).log_sum);
    std::ranges::fill(row_, uint16_t{0});
    std::memcpy(row_.data(), &scale, sizeof(scale));
    std::memcpy(row_.data() + 2, &min_log_prob, sizeof(min_log_prob));
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] > floor) row_[4 + i] = static_cast<uint16_t>(std::lround((x[i] - floor) / scale));
    }
    file_.append(std::as_bytes(std::span(row_)));
  }
}

void DivergenceMeter::add(const ScoredLogits& rows) {
  std::vector<float> klds(static_cast<size_t>(rows.n_rows));
  std::vector<char> same(static_cast<size_t>(rows.n_rows));
  parallel_for(rows.n_rows, 8, [&](int64_t r) {
    const auto x = rows.values.subspan(static_cast<size_t>(r * rows.n_vocab), static_cast<size_t>(rows.n_vocab));
    std::vector<float> base(x.size());
    base_.log_probs(rows.chunk, rows.first + r, base);
    const LogNormalizer normalizer = log_normalizer(x);
    double kld = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (base[i] > -kClip) kld += std::exp(base[i]) * (base[i] - (x[i] - normalizer.log_sum));
    }
    klds[r] = static_cast<float>(kld);
    same[r] = normalizer.argmax == std::ranges::max_element(base) - base.begin();
  });
  for (int64_t r = 0; r < rows.n_rows; ++r) {
    if (!std::isfinite(klds[r])) fail("", "chunk {}: the divergence is not finite", rows.chunk + 1);
    kld_.add(klds[r]);
    same_top_.add(same[r]);
  }
  klds_.insert(klds_.end(), klds.begin(), klds.end());
}

DivergenceResult DivergenceMeter::result() const {
  DivergenceResult result{kld_.estimate(), 0, 0, same_top_.estimate(), kld_.count()};
  if (klds_.empty()) return result;
  std::vector<float> sorted = klds_;
  std::ranges::sort(sorted);
  result.max_kld = sorted.back();
  const size_t n = sorted.size();
  result.median_kld = n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
  return result;
}

}  // namespace steelyard
