// See tokenizer_json.h.
#include "huggingface/tokenizer_json.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace steelyard::huggingface {
namespace {

using json::Value;

constexpr int64_t kMostId = std::numeric_limits<int32_t>::max() - 1;

int64_t id_of(const Value& value, std::string_view token, const std::string& where) {
  const auto id = value.integer();
  if (!id || *id < 0 || *id > kMostId) {
    fail(where, "token '{}' has id {}, expected 0 to {}", printable(token), printable(value.text()), kMostId);
  }
  return *id;
}

void check_unique(const std::vector<std::pair<int64_t, std::string>>& vocab, const std::string& where) {
  std::vector<size_t> order(vocab.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](size_t i) { return vocab[i].first; });
  for (size_t k = 1; k < order.size(); ++k) {
    const auto& [id, text] = vocab[order[k]];
    if (vocab[order[k - 1]].first != id) continue;
    fail(where, "tokens '{}' and '{}' have both id {}", printable(vocab[order[k - 1]].second), printable(text), id);
  }
}

void read_vocab(const Value& model, TokenizerJson& tokenizer, const std::string& where) {
  const auto vocab = model.find("vocab");
  if (!vocab || !vocab->is(Value::Kind::kObject)) fail(where, "found no vocabulary: model.vocab is no object");
  vocab->for_each_member([&](std::string_view text, const Value& id) {
    tokenizer.vocab.emplace_back(id_of(id, text, where), std::string(text));
  });
  check_unique(tokenizer.vocab, where);
}

// A merge as GGUF spells it. A space within a part is what byte-level vocabularies write as U+0120.
std::string merge_of(const Value& value, size_t i, const std::string& where) {
  if (auto joined = value.string()) {
    const size_t space = joined->find(' ');
    const bool two = space != std::string::npos && space > 0 && space + 1 < joined->size() &&
                     joined->find(' ', space + 1) == std::string::npos;
    if (two) return std::move(*joined);
  } else {
    std::vector<std::string> parts;
    value.for_each_element([&](const Value& part) { parts.push_back(part.string().value_or("")); });
    if (parts.size() == 2 && !parts[0].empty() && !parts[1].empty()) {
      for (std::string& part : parts) {
        for (size_t at = part.find(' '); at != std::string::npos; at = part.find(' ', at))
          part.replace(at, 1, "\xC4\xA0");
      }
      return parts[0] + " " + parts[1];
    }
  }
  fail(where, "merge {} is {}, expected two words", i, printable(value.text()));
}

void read_merges(const Value& model, TokenizerJson& tokenizer, const std::string& where) {
  const auto merges = model.find("merges");
  if (!merges || !merges->is(Value::Kind::kArray)) fail(where, "found no merges: model.merges is no array");
  merges->for_each_element(
      [&](const Value& merge) { tokenizer.merges.push_back(merge_of(merge, tokenizer.merges.size(), where)); });
}

void read_added(const Value& root, TokenizerJson& tokenizer, const std::string& where) {
  const auto added = root.find("added_tokens");
  if (!added || added->is(Value::Kind::kNull)) return;
  if (!added->is(Value::Kind::kArray)) fail(where, "added_tokens is {}, expected an array", added->kind_name());
  added->for_each_element([&](const Value& token) {
    const auto content = token.find("content"), id = token.find("id"), special = token.find("special");
    const auto text = content ? content->string() : std::nullopt;
    if (!text || !id) fail(where, "added token {} has no content and id", printable(token.text()));
    tokenizer.added.push_back({id_of(*id, *text, where), *text, special && special->boolean().value_or(false)});
  });
}

// Settings that the file may leave out or set to null.
bool flag(const Value& model, std::string_view name) {
  const auto value = model.find(name);
  return value && value->boolean().value_or(false);
}

void refuse_affix(const Value& model, std::string_view name, const std::string& where) {
  const auto value = model.find(name);
  if (!value) return;
  const auto text = value->string();
  if (text && !text->empty())
    fail(where, "model.{} is '{}'; the runtime knows vocabularies without one", name, printable(*text));
}

json::Json part(const Value& root, std::string_view name, const std::string& where) {
  const auto value = root.find(name);
  if (!value) return nullptr;
  json::Json tree = value->small();
  if (tree.is_discarded()) fail(where, "{} has more than 16 levels or 1000 names", name);
  return tree;
}

}  // namespace

TokenizerJson read_tokenizer_json(const JsonFile& file) {
  const std::string& where = file.path();
  const auto model = file.root().find("model");
  if (!model || !model->is(Value::Kind::kObject)) fail(where, "found no object model");
  const auto type = model->find("type");
  // Old files do not say what they are; a vocabulary with merges is BPE.
  const std::string kind = type ? type->string().value_or("") : model->find("merges") ? "BPE" : "";
  if (kind != "BPE") fail(where, "found a tokenizer of the kind '{}'; the runtime knows BPE", printable(kind));

  TokenizerJson tokenizer;
  tokenizer.byte_fallback = flag(*model, "byte_fallback");
  tokenizer.ignore_merges = flag(*model, "ignore_merges");
  refuse_affix(*model, "continuing_subword_prefix", where);
  refuse_affix(*model, "end_of_word_suffix", where);
  if (const auto unknown = model->find("unk_token")) tokenizer.unknown = unknown->string().value_or("");
  read_vocab(*model, tokenizer, where);
  read_merges(*model, tokenizer, where);
  read_added(file.root(), tokenizer, where);
  tokenizer.normalizer = part(file.root(), "normalizer", where);
  tokenizer.pre_tokenizer = part(file.root(), "pre_tokenizer", where);
  tokenizer.post_processor = part(file.root(), "post_processor", where);
  tokenizer.decoder = part(file.root(), "decoder", where);
  return tokenizer;
}

}  // namespace steelyard::huggingface
