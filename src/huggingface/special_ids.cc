// See special_ids.h.
#include "huggingface/special_ids.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard::huggingface {
namespace {

using json::Json;
using json::Value;

struct Kind {
  std::string_view name;  // of NAME_token and NAME_token_id in the files
  std::string_view key;   // in GGUF
};
// In the converter's order. The spelling of the third is GGUF's.
constexpr Kind kKinds[] = {{"bos", "bos_token_id"},       {"eos", "eos_token_id"},     {"unk", "unknown_token_id"},
                           {"sep", "seperator_token_id"}, {"pad", "padding_token_id"}, {"cls", "cls_token_id"},
                           {"mask", "mask_token_id"},     {"eot", "eot_token_id"},     {"eom", "eom_token_id"}};

// A token in one of its spellings: a string, or an object with a content.
std::string token_text(const std::optional<JsonFile>& file, const std::string& name) {
  if (!file) return "";
  const auto value = file->root().find(name);
  if (!value) return "";
  if (auto text = value->string()) return *text;
  const auto content = value->find("content");
  return content ? content->string().value_or("") : "";
}

class SpecialIds {
 public:
  SpecialIds(const SpecialFiles& files, const TokenizerJson* json, TokenTable& tokens)
      : files_(files), json_(json), tokens_(tokens) {
    for (const Kind& kind : kKinds) {
      const std::string name = std::string(kind.name) + "_token";
      std::string text = token_text(files.tokenizer_config, name);
      if (text.empty()) text = token_text(files.special_tokens_map, name);
      if (!text.empty()) texts_[kind.name] = text;
    }
  }

  void read() {
    if (json_ != nullptr) {
      // Classes of the first sentence stand for BOS, separators for EOS.
      if (!texts_.contains("bos") && texts_.contains("cls")) texts_["bos"] = texts_["cls"];
      if (!texts_.contains("eos") && texts_.contains("sep")) texts_["eos"] = texts_["sep"];
      read_post_processor(json_->post_processor);
    }
    for (const Kind& kind : kKinds) read_config_flag(kind.name);
    for (const Kind& kind : kKinds) {
      if (const auto text = texts_.find(kind.name); text != texts_.end()) set(kind.name, id_of(text->second));
    }
    for (const Kind& kind : kKinds) {
      const std::string key = std::string(kind.name) + "_token_id";
      if (const auto id = files_.of_model(key)) set(kind.name, id->integer());
      if (files_.generation_config) set(kind.name, files_.generation_config->integer(key));
    }
    add_ends();
    add_glm();
  }

  void write(gguf::Metadata& metadata) const {
    for (const Kind& kind : kKinds) {
      const auto id = ids_.find(kind.name);
      if (id == ids_.end()) continue;
      metadata.set_integer("tokenizer.ggml." + std::string(kind.key), static_cast<uint32_t>(id->second));
    }
    for (const std::string_view name : {"bos", "eos", "sep"}) {
      const auto add = adds_.find(name);
      if (add != adds_.end()) metadata.set_boolean("tokenizer.ggml.add_" + std::string(name) + "_token", add->second);
    }
  }

 private:
  // The first that says it counts.
  void set(std::string_view kind, std::optional<int64_t> id) {
    if (id && tokens_.contains(*id)) ids_.emplace(kind, *id);
  }

  std::optional<int64_t> id_of(const std::string& text) const {
    if (json_ != nullptr) {
      const auto added = std::ranges::find(json_->added, text, &AddedToken::text);
      if (added != json_->added.end()) return added->id;
    }
    for (int64_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_.text(id) == text) return id;
    }
    return std::nullopt;
  }

  void read_config_flag(std::string_view kind) {
    if (!files_.tokenizer_config) return;
    const auto add = files_.tokenizer_config->boolean("add_" + std::string(kind) + "_token");
    if (add) adds_.emplace(kind, *add);
  }

  static std::string special(const Json& part) {
    if (!part.is_object()) return "";
    const auto token = part.find("SpecialToken");
    if (token == part.end() || !token->is_object()) return "";
    const auto id = token->find("id");
    return id != token->end() && id->is_string() ? id->get<std::string>() : "";
  }
  static std::string sequence(const Json& part) {
    if (!part.is_object()) return "";
    const auto found = part.find("Sequence");
    if (found == part.end() || !found->is_object()) return "";
    const auto id = found->find("id");
    return id != found->end() && id->is_string() ? id->get<std::string>() : "";
  }
  static std::vector<Json> list(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_array() ? std::vector<Json>(found->begin(), found->end())
                                                      : std::vector<Json>();
  }

  void read_post_processor(const Json& processor) {
    if (!processor.is_object()) return;
    const auto type = processor.find("type");
    if (type == processor.end() || !type->is_string()) return;
    if (*type == "Sequence") {
      for (const Json& part : list(processor, "processors")) read_post_processor(part);
    } else if (*type == "ByteLevel") {
      adds_.emplace("bos", false);
      adds_.emplace("eos", false);
    } else if (*type == "TemplateProcessing") {
      read_template(list(processor, "single"), list(processor, "pair"));
    }
  }

  void read_template(const std::vector<Json>& single, std::vector<Json> pair) {
    std::string first, last;
    if (single.size() > 1) {
      first = special(single.front());
      last = special(single.back());
      if (!first.empty()) {
        texts_.emplace("bos", first);
        texts_.emplace("cls", first);
        adds_["bos"] = first == texts_["bos"] || first == texts_["cls"];
      }
      if (!last.empty()) {
        // What was called EOS ends a turn, then.
        if (texts_.contains("eos") && texts_["eos"] != last) texts_.emplace("eot", texts_["eos"]);
        texts_["eos"] = last;
        adds_["eos"] = true;
      }
    }
    if (!first.empty() && !pair.empty() && special(pair.front()) == first) pair.erase(pair.begin());
    if (!last.empty() && !pair.empty() && special(pair.back()) == last) pair.pop_back();
    if (pair.size() < 3 || sequence(pair.front()) != "A" || sequence(pair.back()) != "B") return;
    const auto separates = [&](const Json& part) {
      const std::string token = special(part);
      return !token.empty() && (token == texts_["sep"] || token == texts_["eos"]);
    };
    adds_["sep"] = (separates(pair[1]) && last.empty()) || (pair.size() == 4 && separates(pair[2]));
  }

  // Other tokens that end a text, by a list of ids; those that are known by their names need no key.
  void add_ends() {
    std::vector<int64_t> ends;
    const auto read = [&](const std::optional<Value>& list) {
      if (!list) return;
      list->for_each_element([&](const Value& id) {
        const auto end = id.integer();
        if (end && tokens_.contains(*end) && std::ranges::find(ends, *end) == ends.end()) ends.push_back(*end);
      });
    };
    read(files_.of_model("eos_token_id"));
    if (files_.generation_config) read(files_.generation_config->root().find("eos_token_id"));
    if (ends.empty()) return;
    ids_.emplace("eos", ends.front());
    for (const int64_t end : ends) {
      if (end == ids_["eos"] || tokenizer::ends_by_name(tokens_.text(end))) continue;
      // BOS of a few models ends documents as well; a text that begins must not end.
      if (ids_.contains("bos") && end == ids_["bos"]) continue;
      tokens_.set_type(end, tokenizer::TokenType::kControl);
      if (!ids_.contains("eot"))
        ids_["eot"] = end;
      else if (!ids_.contains("eom") && ids_["eot"] != end)
        ids_["eom"] = end;
    }
  }

  // GLM's files name neither the token that begins a text nor the unknown one.
  void add_glm() {
    if (json_ == nullptr) return;
    const auto find = [&](std::string_view text) -> std::optional<int64_t> {
      const auto added = std::ranges::find(json_->added, text, &AddedToken::text);
      return added == json_->added.end() ? std::nullopt : std::optional(added->id);
    };
    const auto begin = find("[gMASK]"), user = find("<|user|>"), observation = find("<|observation|>");
    if (!begin || !user || !observation) return;
    set("bos", begin);
    set("eot", user);
    set("unk", find("<|endoftext|>"));
    set("eom", observation);
  }

  const SpecialFiles& files_;
  const TokenizerJson* json_;
  TokenTable& tokens_;
  std::map<std::string_view, std::string> texts_;
  std::map<std::string_view, int64_t> ids_;
  std::map<std::string_view, bool> adds_;
};

}  // namespace

SpecialFiles::SpecialFiles(const std::string& folder)
    : tokenizer_config(JsonFile::find(folder, "tokenizer_config.json")),
      special_tokens_map(JsonFile::find(folder, "special_tokens_map.json")),
      config(JsonFile::find(folder, "config.json")),
      generation_config(JsonFile::find(folder, "generation_config.json")) {}

std::optional<Value> SpecialFiles::of_model(std::string_view name) const {
  if (!config) return std::nullopt;
  const auto present = [](const std::optional<Value>& value) { return value && !value->is(Value::Kind::kNull); };
  if (const auto text = config->root().find("text_config")) {
    if (const auto value = text->find(name); present(value)) return value;
  }
  const auto value = config->root().find(name);
  return present(value) ? value : std::nullopt;
}

void add_special_ids(const SpecialFiles& files, const TokenizerJson* json, TokenTable& tokens,
                     gguf::Metadata& metadata) {
  SpecialIds ids(files, json, tokens);
  ids.read();
  ids.write(metadata);
}

}  // namespace steelyard::huggingface
