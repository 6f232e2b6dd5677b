// Any bytes as a file of base log-probabilities, of either layout: its header, and every row as it is compared with
// logits and given to tuning. In our layout, the hash of the text is put right first, so that it is not all that is
// tried.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "evaluate/compact_base.h"
#include "evaluate/divergence_base.h"
#include "evaluate/llama_base.h"
#include "fuzz/target.h"

namespace steelyard::evaluate {
namespace {

using fuzz::allow_errors, fuzz::g_sink;

// Offsets in docs/perplexity.md.
constexpr size_t kVersionAt = 8, kContextAt = 12, kChunksAt = 20, kTextHashAt = 172, kHeaderBytes = 236;

void mend_hash(std::string& content) {
  if (content.size() < kHeaderBytes || !content.starts_with(CompactBase::kMagic)) return;
  const auto number = [&](size_t at) { return load_number<uint32_t>(content.data() + at); };
  const uint64_t n_tokens = uint64_t{number(kContextAt)} * number(kChunksAt);
  const size_t begin = kHeaderBytes + (number(kVersionAt) == 2 ? sizeof(uint32_t) : 0);
  if (content.size() < begin || n_tokens > (content.size() - begin) / sizeof(uint32_t)) return;
  const std::string hash = sha256(std::string_view(content).substr(begin, n_tokens * sizeof(uint32_t)));
  content.replace(kTextHashAt, hash.size(), hash);
}

void use_row(const DivergenceBase& base, int64_t chunk, int64_t index) {
  std::vector<float> logits(static_cast<size_t>(base.n_vocab()));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  allow_errors([&] { g_sink = base.compare(chunk, index, 0, logits).kld > 0; });
  const auto n = static_cast<size_t>(base.n_targets());
  std::vector<int32_t> tokens(n);
  std::vector<float> probs(n);
  allow_errors([&] {
    base.target(chunk, index, tokens, probs);
    for (size_t i = 0; i < n; ++i) STEELYARD_CHECK(probs[i] < 0 || (tokens[i] >= 0 && tokens[i] < base.n_vocab()));
  });
  allow_errors([&] {
    const std::vector<uint16_t> choices = base.choices(chunk, index);
    for (const uint16_t expert : choices) STEELYARD_CHECK(expert < base.experts().n_expert);
  });
  if (const auto* llama = dynamic_cast<const LlamaBase*>(&base)) {
    allow_errors([&] { llama->log_probs(chunk, index, logits); });
  }
}

void use_base(const DivergenceBase& base) {
  const std::vector<tokenizer::TokenId> ids = base.tokens();
  STEELYARD_CHECK(std::ssize(ids) == base.n_ctx() * base.n_chunks());
  const int64_t n_chunks = std::min<int64_t>(base.n_chunks(), 4), n_rows = std::min<int64_t>(base.n_scored(), 4);
  // Logits come from a model, whose vocabulary is real; only a row that has all tokens proves the header's.
  constexpr int64_t kMostTokens = 1 << 16;
  for (int64_t chunk = 0; base.n_vocab() <= kMostTokens && chunk < n_chunks; ++chunk) {
    for (int64_t index = 0; index < n_rows; ++index) use_row(base, chunk, base.n_scored() - 1 - index);
    base.release(chunk);
  }
  g_sink = base.digest().size();
  allow_errors([&] {
    ModelIdentity identity;
    identity.n_vocab = base.n_vocab();
    base.require(tokenizer::Chunks(ids, base.n_ctx(), 0, std::nullopt, "fuzz"), identity);
  });
}

}  // namespace
}  // namespace steelyard::evaluate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  static fuzz::MemoryFile file;
  std::string content(fuzz::as_text(data, size));
  evaluate::mend_hash(content);
  file.set(content.data(), content.size());
  fuzz::allow_errors([&] { evaluate::use_base(*evaluate::DivergenceBase::open(file.path())); });
  return 0;
}
