// See plain_text.h.
#include "tokenizer/plain_text.h"

#include <fmt/ranges.h>

#include "base/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/spm.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kModelKey = "tokenizer.ggml.model";

template <typename Kind>
std::unique_ptr<const PlainText> make(const gguf::Metadata& metadata, const Vocabulary& vocabulary) {
  return std::make_unique<const Kind>(metadata, vocabulary);
}

struct Entry {
  std::string_view name;
  std::unique_ptr<const PlainText> (*make)(const gguf::Metadata&, const Vocabulary&);
};

// To add a kind, add a line.
constexpr Entry kKinds[] = {
    {"gpt2", make<Bpe>},
    {"llama", make<Spm>},
    {"gemma4", make<Bpe>},
};

const Entry& find_kind(const gguf::Metadata& metadata) {
  const std::string_view name = metadata.string(kModelKey);
  std::vector<std::string_view> known;
  for (const Entry& kind : kKinds) {
    if (kind.name == name) return kind;
    known.push_back(kind.name);
  }
  fail(key_location(metadata, kModelKey), "unknown tokenizer '{}'; known are {}", printable(name),
       fmt::join(known, ", "));
}

}  // namespace

void check_tokenizer_model(const gguf::Metadata& metadata) { find_kind(metadata); }

std::unique_ptr<const PlainText> make_plain_text(const gguf::Metadata& metadata, const Vocabulary& vocabulary) {
  return find_kind(metadata).make(metadata, vocabulary);
}

}  // namespace steelyard::tokenizer
