#include "evaluate/compact_base.h"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"

namespace steelyard::evaluate {
namespace {

// The second has the first scored position after the header; the third that and the bytes of a note, which follows the
// tokens.
constexpr uint32_t kVersion = 1, kVersionWithFirst = 2, kVersionWithNote = 3;

// The head of the file; the layout of docs/perplexity.md.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t n_ctx;
  uint32_t n_vocab;
  uint32_t n_chunks;
  uint32_t n_top;
  uint32_t n_samples;
  uint32_t n_expert_layers;
  uint32_t n_expert;
  uint32_t n_used;
  char fingerprint[kSha256Digits];
  char vocabulary[kSha256Digits];
  char text[kSha256Digits];
};
static_assert(sizeof(Header) == 44 + 3 * kSha256Digits);

void copy_hash(const std::string& hash, char (&out)[kSha256Digits]) { std::memcpy(out, hash.data(), kSha256Digits); }

bool is_hash(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

CompactBase::CompactBase(MappedFile file) : DivergenceBase(std::move(file)) {
  Header header;
  ByteReader in(bytes(), path());
  in.set_subject("the header is truncated");
  in.read(std::span(&header, 1));
  if (header.version < kVersion || header.version > kVersionWithNote)
    fail(path(), "has version {}, expected {} to {}", header.version, kVersion, kVersionWithNote);
  const int64_t first_scored = header.version >= kVersionWithFirst ? int64_t{in.number<uint32_t>()} : -1;
  const uint32_t note_bytes = header.version >= kVersionWithNote ? in.number<uint32_t>() : 0;
  const size_t header_bytes = sizeof(header) + sizeof(uint32_t) * (header.version - kVersion);
  set_counts(header.n_ctx, header.n_vocab, header.n_chunks, first_scored);
  const uint64_t n_layers = header.n_expert_layers;
  // Bounds that keep every product of these below 2^63.
  if (header.n_top < 1 || header.n_top > header.n_vocab || header.n_samples > header.n_vocab || n_layers > UINT16_MAX ||
      header.n_expert > UINT16_MAX || header.n_used > header.n_expert || (n_layers == 0) != (header.n_used == 0)) {
    fail(path(), "header says {} top tokens, {} samples, {} layers with {} of {} experts: damaged", header.n_top,
         header.n_samples, n_layers, header.n_used, header.n_expert);
  }
  experts_.n_expert = header.n_expert;
  experts_.n_used = header.n_used;
  shape_ = {header.n_vocab, header.n_top, header.n_samples, static_cast<int64_t>(n_layers * header.n_used)};
  check_length(header_bytes, note_bytes + n_layers * sizeof(int32_t), shape_.row_bytes());

  fingerprint_.assign(header.fingerprint, kSha256Digits);
  vocabulary_.assign(header.vocabulary, kSha256Digits);
  const std::vector<tokenizer::TokenId> ids = tokens();
  if (!is_hash(fingerprint_) || !is_hash(vocabulary_) ||
      sha256(std::as_bytes(std::span(ids))) != std::string_view(header.text, kSha256Digits)) {
    fail(path(), "the tokens or their hash are damaged");
  }
  if (std::ranges::any_of(ids, [&](tokenizer::TokenId id) { return id < 0 || id >= n_vocab(); })) {
    fail(path(), "a token is beyond the vocabulary of {}", n_vocab());
  }
  in.seek(header_bytes + ids.size() * sizeof(tokenizer::TokenId));
  note_ = in.text(note_bytes);
  experts_.layers = in.values<int32_t>(n_layers);
  if (std::ranges::adjacent_find(experts_.layers, std::ranges::greater_equal()) != experts_.layers.end() ||
      (n_layers > 0 && experts_.layers[0] < 0)) {
    fail(path(), "the numbers of the layers with experts are damaged");
  }
}

void CompactBase::require(const tokenizer::Chunks& chunks, const ModelIdentity& model) const {
  if (n_vocab() == model.n_vocab && vocabulary_ != model.vocabulary) {
    fail(path(), "was made with a model of another vocabulary or BOS");
  }
  DivergenceBase::require(chunks, model);
}

CompactRow CompactBase::checked_row(int64_t chunk, int64_t index) const {
  CompactRow values = load_compact_row(shape_, row(chunk, index));
  const std::string damage = find_damage(shape_, values);
  if (!damage.empty()) fail(path(), "chunk {}, row {} has {}: damaged", chunk + 1, index, damage);
  return values;
}

TokenScore CompactBase::compare(int64_t chunk, int64_t index, tokenizer::TokenId target,
                                std::span<const float> x) const {
  return evaluate::compare(shape_, checked_row(chunk, index), x, target);
}

void CompactBase::target(int64_t chunk, int64_t index, std::span<int32_t> tokens, std::span<float> probs) const {
  named_probabilities(shape_, checked_row(chunk, index), tokens, probs);
}

std::vector<uint16_t> CompactBase::choices(int64_t chunk, int64_t index) const {
  const auto n = static_cast<size_t>(shape_.n_choices);
  ByteReader in(row(chunk, index).last(n * sizeof(uint16_t)), path());
  const auto experts = in.values<uint16_t>(n);
  for (size_t i = 0; i < experts.size(); ++i) {
    const bool first = i % static_cast<size_t>(experts_.n_used) == 0;
    if (experts[i] >= experts_.n_expert || (!first && experts[i] <= experts[i - 1])) {
      fail(path(), "chunk {}, row {}: the choice of experts is damaged", chunk + 1, index);
    }
  }
  return experts;
}

CompactBaseWriter::CompactBaseWriter(const std::string& path, const tokenizer::Chunks& chunks,
                                     const ModelIdentity& model, std::optional<AtomicFile::Resume> resume,
                                     const std::string& note)
    : DivergenceBaseWriter(path, resume) {
  const CompactShape shape = compact_shape(model.n_vocab, model.experts.n_choices());
  Header header{};
  std::memcpy(header.magic, CompactBase::kMagic.data(), sizeof(header.magic));
  const bool has_first = chunks.first_scored() != chunks.n_ctx() / 2;
  header.version = !note.empty() ? kVersionWithNote : has_first ? kVersionWithFirst : kVersion;
  header.n_ctx = static_cast<uint32_t>(chunks.n_ctx());
  header.n_vocab = static_cast<uint32_t>(model.n_vocab);
  header.n_chunks = static_cast<uint32_t>(chunks.count());
  header.n_top = static_cast<uint32_t>(shape.n_top);
  header.n_samples = static_cast<uint32_t>(shape.n_samples);
  header.n_expert_layers = static_cast<uint32_t>(model.experts.layers.size());
  header.n_expert = static_cast<uint32_t>(model.experts.n_expert);
  header.n_used = static_cast<uint32_t>(model.experts.n_used);
  copy_hash(model.fingerprint, header.fingerprint);
  copy_hash(model.vocabulary, header.vocabulary);
  copy_hash(sha256(std::as_bytes(chunks.tokens())), header.text);

  const std::span<const int32_t> layers = model.experts.layers;
  const auto n_rows = static_cast<uint64_t>(chunks.count() * chunks.n_scored());
  file().reserve(sizeof(header) + 2 * sizeof(uint32_t) + note.size() + chunks.tokens().size_bytes() +
                 layers.size_bytes() + n_rows * shape.row_bytes());
  if (resume && resume->size > 0) return;
  ByteWriter out(file());
  out.values(std::span<const Header>(&header, 1));
  if (header.version >= kVersionWithFirst) out.number<uint32_t>(static_cast<uint32_t>(chunks.first_scored()));
  if (header.version >= kVersionWithNote) out.number<uint32_t>(static_cast<uint32_t>(note.size()));
  out.values(chunks.tokens());
  out.values(std::span<const char>(note));
  out.values(layers);
}

CompactBaseEncoder::CompactBaseEncoder(const tokenizer::Chunks& chunks, const ModelIdentity& model)
    : shape_(compact_shape(model.n_vocab, model.experts.n_choices())), n_scored_(chunks.n_scored()) {}

std::span<const std::byte> CompactBaseEncoder::encode(const ScoredLogits& rows) {
  const size_t row_bytes = shape_.row_bytes(), n_choices = static_cast<size_t>(shape_.n_choices);
  rows_.resize(static_cast<size_t>(rows.n_rows) * row_bytes);
  parallel_for(rows.n_rows, 4, [&](int64_t r) {
    const auto at = static_cast<size_t>(r);
    const auto seed = static_cast<uint64_t>(rows.chunk * n_scored_ + rows.first + r);
    store(
        make_compact_row(shape_, rows.row(r), rows.targets[at], rows.experts.subspan(at * n_choices, n_choices), seed),
        std::span(rows_).subspan(at * row_bytes, row_bytes));
  });
  return rows_;
}

}  // namespace steelyard::evaluate
