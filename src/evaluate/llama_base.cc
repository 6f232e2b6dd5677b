#include "evaluate/llama_base.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "base/parallel.h"

namespace steelyard::evaluate {
namespace {

constexpr size_t kHeaderBytes = LlamaBase::kMagic.size() + 3 * sizeof(int32_t);
// Logits further than this below the maximum are stored at this distance, and are left out of the divergence.
constexpr float kClip = 16.0f;

// A row is float scale, float min_log_prob, then one uint16 code per token, padded to an even number.
size_t row_values(int64_t n_vocab) { return static_cast<size_t>(2 * ((n_vocab + 1) / 2) + 4); }

void encode_row(std::span<const float> x, std::span<uint16_t> row) {
  const auto [smallest, largest] = std::ranges::minmax(x);
  const float floor = std::max(smallest, largest - kClip);
  const float scale = (largest - floor) / 65535.0f;
  const auto min_log_prob = static_cast<float>(static_cast<double>(floor) - log_normalizer(x).log_sum);
  std::ranges::fill(row, uint16_t{0});
  std::memcpy(row.data(), &scale, sizeof(scale));
  std::memcpy(row.data() + 2, &min_log_prob, sizeof(min_log_prob));
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] > floor) row[4 + i] = static_cast<uint16_t>(std::lround((x[i] - floor) / scale));
  }
}

}  // namespace

LlamaBase::LlamaBase(MappedFile file) : DivergenceBase(std::move(file)) {
  if (bytes().size() < kHeaderBytes) fail(path(), "is not a file of base log-probabilities");
  ByteReader in(bytes(), path());
  in.text(kMagic.size());
  const auto n_ctx = in.number<int32_t>(), n_vocab = in.number<int32_t>(), n_chunks = in.number<int32_t>();
  set_counts(n_ctx, n_vocab, n_chunks);
  check_length(kHeaderBytes, 0, row_values(n_vocab) * sizeof(uint16_t));
}

void LlamaBase::log_probs(int64_t chunk, int64_t index, std::span<float> out) const {
  const auto bytes = row(chunk, index);
  const auto scale = load_number<float>(bytes.data()), min_log_prob = load_number<float>(bytes.data() + sizeof(float));
  if (!std::isfinite(scale) || !std::isfinite(min_log_prob) || scale < 0) {
    fail(path(), "chunk {}, row {}: scale {} and minimum {} are damaged", chunk + 1, index, scale, min_log_prob);
  }
  const std::byte* codes = bytes.data() + 2 * sizeof(float);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = scale * static_cast<float>(load_number<uint16_t>(codes + i * sizeof(uint16_t))) + min_log_prob;
  }
}

TokenScore LlamaBase::compare(int64_t chunk, int64_t index, tokenizer::TokenId target, std::span<const float> x) const {
  std::vector<float> base(x.size());
  log_probs(chunk, index, base);
  const LogNormalizer normalizer = log_normalizer(x);
  TokenScore score;
  for (size_t i = 0; i < x.size(); ++i) {
    if (base[i] > -kClip) score.kld += std::exp(base[i]) * (base[i] - (x[i] - normalizer.log_sum));
  }
  score.nll = normalizer.log_sum - x[static_cast<size_t>(target)];
  score.base_nll = -base[static_cast<size_t>(target)];
  score.same_top = normalizer.argmax == std::ranges::max_element(base) - base.begin();
  return score;
}

void LlamaBase::target(int64_t chunk, int64_t index, std::span<int32_t> tokens, std::span<float> probs) const {
  log_probs(chunk, index, probs);
  double sum = 0;
  for (float& p : probs) sum += p = std::exp(p);
  for (size_t i = 0; i < probs.size(); ++i) {
    tokens[i] = static_cast<int32_t>(i);
    probs[i] = static_cast<float>(probs[i] / sum);
  }
}

LlamaBaseWriter::LlamaBaseWriter(const std::string& path, const tokenizer::Chunks& chunks, int64_t n_vocab,
                                 std::optional<AtomicFile::Resume> resume)
    : DivergenceBaseWriter(path, resume) {
  const auto n_rows = static_cast<uint64_t>(chunks.count() * chunks.n_scored());
  file().reserve(kHeaderBytes + chunks.tokens().size_bytes() + n_rows * row_values(n_vocab) * sizeof(uint16_t));
  if (resume && resume->size > 0) return;
  ByteWriter out(file());
  out.text(LlamaBase::kMagic);
  for (const int64_t count : {chunks.n_ctx(), n_vocab, chunks.count()}) {
    out.number<int32_t>(static_cast<int32_t>(count));
  }
  out.values(chunks.tokens());
}

LlamaBaseEncoder::LlamaBaseEncoder(int64_t n_vocab) : row_values_(row_values(n_vocab)) {}

std::span<const std::byte> LlamaBaseEncoder::encode(const ScoredLogits& rows) {
  rows_.resize(static_cast<size_t>(rows.n_rows) * row_values_);
  parallel_for(rows.n_rows, 4, [&](int64_t r) {
    encode_row(rows.row(r), std::span(rows_).subspan(static_cast<size_t>(r) * row_values_, row_values_));
  });
  return std::as_bytes(std::span(rows_));
}

}  // namespace steelyard::evaluate
