// See chat_templates.h.
#include "huggingface/chat_templates.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/text_file.h"

namespace steelyard::huggingface {
namespace {

namespace fs = std::filesystem;
using json::Value;

using Templates = std::map<std::string, std::string>;  // by name

constexpr const char* kDefault = "default";

// A name as part of a key.
std::string key_name(const std::string& name) {
  std::string spelled;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    spelled += plain ? c : '_';
  }
  return spelled;
}

Templates from_text_files(const std::string& folder) {
  Templates templates;
  const fs::path only = fs::path(folder) / "chat_template.jinja",
                 others = fs::path(folder) / "additional_chat_templates";
  std::error_code failure;
  if (!fs::exists(only, failure)) return templates;
  templates[kDefault] = read_text_file(only.string());
  for (const auto& entry : fs::directory_iterator(others, failure)) {
    if (entry.path().extension() != ".jinja") continue;
    templates[key_name(entry.path().stem().string())] = read_text_file(entry.path().string());
  }
  return templates;
}

Templates from_value(const Value& value, const std::string& where) {
  if (auto text = value.string()) return {{kDefault, std::move(*text)}};
  Templates templates;
  if (value.is(Value::Kind::kNull)) return templates;
  const auto take = [&](const std::optional<std::string>& name, const std::optional<Value>& text) {
    if (!name || name->empty() || !text || !text->string())
      fail(where, "chat_template has an entry without name or text");
    templates[key_name(*name)] = *text->string();
  };
  if (value.is(Value::Kind::kArray)) {
    value.for_each_element([&](const Value& entry) {
      const auto name = entry.find("name");
      take(name ? name->string() : std::nullopt, entry.find("template"));
    });
  } else if (value.is(Value::Kind::kObject)) {
    value.for_each_member([&](std::string_view name, const Value& text) { take(std::string(name), text); });
  } else {
    fail(where, "chat_template is {}, expected a string or a list", value.kind_name());
  }
  return templates;
}

Templates from_json(const std::optional<JsonFile>& file) {
  if (!file) return {};
  const auto value = file->root().find("chat_template");
  return value ? from_value(*value, file->path()) : Templates();
}

}  // namespace

void add_chat_templates(const std::string& folder, const std::optional<JsonFile>& tokenizer_config,
                        gguf::Metadata& metadata) {
  Templates templates = from_text_files(folder);
  if (templates.empty()) templates = from_json(tokenizer_config);
  if (templates.empty()) templates = from_json(JsonFile::find(folder, "chat_template.json"));
  std::vector<std::string> names;
  for (const auto& [name, text] : templates) {
    if (name == kDefault) continue;
    metadata.set_string("tokenizer.chat_template." + name, text);
    names.push_back(name);
  }
  if (!names.empty()) metadata.set_strings("tokenizer.chat_templates", names);
  if (const auto text = templates.find(kDefault); text != templates.end()) {
    metadata.set_string("tokenizer.chat_template", text->second);
  }
}

}  // namespace steelyard::huggingface
