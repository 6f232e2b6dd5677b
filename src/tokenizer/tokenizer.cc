// See tokenizer.h. Combines the vocabulary, the division at special tokens, and the encoding of the plain text between.
#include "tokenizer/tokenizer.h"

#include "base/error.h"
#include "tokenizer/plain_text.h"

namespace steelyard::tokenizer {
namespace {

constexpr std::string_view kBosKey = "tokenizer.ggml.bos_token_id";
constexpr std::string_view kEosKey = "tokenizer.ggml.eos_token_id";
constexpr std::string_view kAddBosKey = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kAddEosKey = "tokenizer.ggml.add_eos_token";
constexpr std::string_view kEndKeys[] = {
    "tokenizer.ggml.eot_token_id",     "tokenizer.ggml.eom_token_id",     "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id",
};

// The kind must be known before anything else is read, because others have other keys.
const gguf::Metadata& of_known_kind(const gguf::Metadata& metadata) {
  check_tokenizer_model(metadata);
  return metadata;
}

// Files do not say how a marked token treats the space behind it. llama.cpp knows these models by their name.
bool is_phi3(const gguf::Metadata& metadata) {
  std::string name(metadata.string("general.name", ""));
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
}

}  // namespace

struct Tokenizer::Parts {
  explicit Parts(const gguf::Metadata& metadata)
      : vocabulary(of_known_kind(metadata)),
        special_tokens(vocabulary, is_phi3(metadata)),
        plain_text(make_plain_text(metadata, vocabulary)),
        bos(token(metadata, kBosKey, plain_text->defaults().bos)),
        eos(token(metadata, kEosKey, plain_text->defaults().eos)),
        add_bos(metadata.boolean(kAddBosKey, plain_text->defaults().add_bos) || plain_text->defaults().insists_on_bos),
        add_eos(metadata.boolean(kAddEosKey, false)),
        ends(vocabulary.ends_by_name()) {
    // A file that names no token at all lacks something. One that names a token beyond the vocabulary says "none".
    if (add_bos && !bos && !metadata.contains(kBosKey)) {
      fail(key_location(metadata, kBosKey), "not set, but BOS is to be added");
    }
    if (add_eos && !eos && !metadata.contains(kEosKey)) {
      fail(key_location(metadata, kEosKey), "not set, but EOS is to be added");
    }
    add_bos = add_bos && bos;
    add_eos = add_eos && eos;
    if (eos) ends.insert(*eos);
    for (const std::string_view key : kEndKeys) {
      if (const std::optional<TokenId> id = token(metadata, key)) ends.insert(*id);
    }
  }

  // Files write -1 or 4294967295 for "none". An id that is not in the vocabulary counts as an absent key, as in
  // llama.cpp, and a default that is not in it as none.
  std::optional<TokenId> token(const gguf::Metadata& metadata, std::string_view key, TokenId absent = -1) const {
    constexpr double kBeyond = 0x1p31;  // ids of 64 bits may not fit an int64
    if (metadata.contains(key) && !(metadata.real(key) >= kBeyond)) {
      const int64_t id = metadata.integer(key);
      if (vocabulary.contains(id)) return static_cast<TokenId>(id);
    }
    return vocabulary.contains(absent) ? std::optional(absent) : std::nullopt;
  }

  void check(TokenId id) const {
    if (!vocabulary.contains(id)) fail("", "token {} is beyond the {} of the vocabulary", id, vocabulary.n_tokens());
  }

  Vocabulary vocabulary;
  SpecialTokens special_tokens;
  std::unique_ptr<const PlainText> plain_text;
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  bool add_bos;
  bool add_eos;
  std::set<TokenId> ends;
};

Tokenizer::Tokenizer(const gguf::Metadata& metadata) : parts_(std::make_unique<const Parts>(metadata)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

int Tokenizer::n_tokens() const { return parts_->vocabulary.n_tokens(); }
std::optional<TokenId> Tokenizer::bos() const { return parts_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return parts_->eos; }
bool Tokenizer::add_bos() const { return parts_->add_bos; }
bool Tokenizer::add_eos() const { return parts_->add_eos; }
bool Tokenizer::is_end_of_generation(TokenId id) const { return parts_->ends.contains(id); }

std::vector<std::string_view> Tokenizer::control_tokens() const {
  std::vector<std::string_view> names;
  for (TokenId id = 0; id < n_tokens(); ++id) {
    if (parts_->special_tokens.is_on_demand(id)) names.push_back(parts_->vocabulary.text(id));
  }
  return names;
}

std::string_view Tokenizer::text(TokenId id) const {
  parts_->check(id);
  return parts_->vocabulary.text(id);
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  std::vector<TokenId> ids;
  if (add_special && parts_->add_bos) ids.push_back(*parts_->bos);
  append(parts_->special_tokens.divide(text, parse_special), ids);
  if (add_special && parts_->add_eos) ids.push_back(*parts_->eos);
  return ids;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, std::span<const TextRange> literal) const {
  std::vector<TokenId> ids;
  append(parts_->special_tokens.divide(text, /*parse_special=*/true, literal), ids);
  return ids;
}

void Tokenizer::append(std::span<const Fragment> fragments, std::vector<TokenId>& ids) const {
  bool starts = true;
  for (const Fragment& fragment : fragments) {
    if (fragment.token >= 0) {
      ids.push_back(fragment.token);
    } else {
      parts_->plain_text->encode(fragment.text, starts, ids);
    }
    starts = fragment.token >= 0;
  }
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string text;
  for (const TokenId id : ids) {
    parts_->check(id);
    switch (parts_->vocabulary.type(id)) {
      case TokenType::kNormal:
      case TokenType::kByte:
        text += parts_->plain_text->bytes(id);
        break;
      case TokenType::kUserDefined:
        text += parts_->vocabulary.text(id);
        break;
      case TokenType::kControl:
      case TokenType::kUnknown:
        if (special) text += parts_->vocabulary.text(id);
        break;
      case TokenType::kUndefined:
      case TokenType::kUnused:
        break;
    }
  }
  return text;
}

}  // namespace steelyard::tokenizer
