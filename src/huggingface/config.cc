#include "huggingface/config.h"

#include <cmath>
#include <filesystem>

#include "base/text_file.h"

namespace steelyard::huggingface {
namespace {

using json::Json;

// Where the text's part stands.
constexpr std::string_view kTextParts[] = {"text_config", "llm_config", "language_config", "lm_config"};

Json read_json(const std::string& path) {
  Json json = json::parse_json(read_text_file(path), 16);
  if (!json.is_object()) fail(path, "is no JSON object, or one of more than 1000 names");
  return json;
}

const Json* entry(const Json& json, std::string_view key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string first_architecture(const Json& json) {
  const Json* const list = entry(json, "architectures");
  return list != nullptr && list->is_array() && !list->empty() && list->front().is_string()
             ? list->front().get<std::string>()
             : "";
}

}  // namespace

Config::Config(const std::string& folder) : path_((std::filesystem::path(folder) / "config.json").string()) {
  json_ = read_json(path_);
  architecture_ = first_architecture(json_);
  for (const std::string_view part : kTextParts) {
    const Json* const text = entry(json_, part);
    if (text == nullptr || !text->is_object()) continue;
    if (const std::string own = first_architecture(*text); !own.empty()) architecture_ = own;
    Json merged = *text;
    for (const auto& [key, value] : json_.items()) {
      if (!merged.contains(key) || merged[key].is_null()) merged[key] = value;
    }
    json_ = std::move(merged);
    break;
  }
  if (architecture_.empty()) fail(path_, "names no class under 'architectures'");
  read_rope();
}

void Config::read_rope() {
  const Json* given = find({"rope_parameters", "rope_scaling"});
  rope_ = given != nullptr && given->is_object() ? *given : Json::object();
  const bool by_kind = rope_.contains("full_attention") || rope_.contains("sliding_attention");
  if (by_kind) {
    if (const Json* window = entry(rope_, "sliding_attention")) window_rope_ = *window;
    Json full = entry(rope_, "full_attention") != nullptr ? rope_["full_attention"] : Json::object();
    rope_ = std::move(full);
    return;
  }
  const auto add = [&](std::string_view key, Names names) {
    const Json* const value = find(names);
    if (value != nullptr && !rope_.contains(key)) rope_[std::string(key)] = *value;
  };
  add("rope_theta", {"global_rope_theta", "rope_theta", "rotary_emb_base"});
  add("partial_rotary_factor", {"partial_rotary_factor", "rope_pct", "rope_percent"});
  add("original_max_position_embeddings", {"original_max_position_embeddings"});
  if (rope_.contains("type") && !rope_.contains("rope_type")) rope_["rope_type"] = rope_["type"];
  if (const Json* theta = find({"local_rope_theta", "swa_rope_theta", "rope_local_base_freq"}))
    window_rope_ = Json{{"rope_theta", *theta}};
}

const Json* Config::find(Names names) const {
  for (const std::string_view name : names) {
    if (const Json* const found = entry(json_, name)) return found;
  }
  return nullptr;
}

std::optional<int64_t> Config::optional_integer(Names names) const {
  const Json* const value = find(names);
  if (value == nullptr) return std::nullopt;
  const bool whole = value->is_number() && value->get<double>() >= 0 && value->get<double>() <= INT32_MAX &&
                     value->get<double>() == std::floor(value->get<double>());
  if (!whole) reject(*names.begin(), "is {}, expected an integer of 0 to 2^31 - 1", printable(json::json_text(*value)));
  return static_cast<int64_t>(value->get<double>());
}

int64_t Config::integer(Names names) const {
  const auto value = optional_integer(names);
  if (!value) reject(*names.begin(), "is missing");
  return *value;
}

std::optional<double> Config::optional_real(Names names) const {
  const Json* const value = find(names);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) reject(*names.begin(), "is {}, expected a number", printable(json::json_text(*value)));
  return value->get<double>();
}

std::optional<bool> Config::optional_boolean(Names names) const {
  const Json* const value = find(names);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) reject(*names.begin(), "is {}, expected true or false", printable(json::json_text(*value)));
  return value->get<bool>();
}

std::string Config::string(Names names, std::string_view absent) const {
  const Json* const value = find(names);
  if (value == nullptr) return std::string(absent);
  if (!value->is_string()) reject(*names.begin(), "is {}, expected a string", printable(json::json_text(*value)));
  return value->get<std::string>();
}

std::vector<std::string> Config::strings(std::string_view name) const {
  std::vector<std::string> strings;
  const Json* const value = find({name});
  if (value == nullptr) return strings;
  for (const Json& element : *value) {
    if (!value->is_array() || !element.is_string()) reject(name, "is no list of strings");
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

std::vector<int64_t> Config::integers(std::string_view name) const {
  std::vector<int64_t> integers;
  const Json* const value = find({name});
  if (value == nullptr) return integers;
  for (const Json& element : *value) {
    if (!value->is_array() || !element.is_number_integer() || element.get<int64_t>() < 0 ||
        element.get<int64_t>() > INT32_MAX)
      reject(name, "is no list of integers of 0 to 2^31 - 1");
    integers.push_back(element.get<int64_t>());
  }
  return integers;
}

int64_t Config::head_dim() const {
  if (const auto given = optional_integer({"head_dim"})) return *given;
  const int64_t n_head = integer({"num_attention_heads", "n_head", "n_heads"});
  if (n_head == 0) reject("num_attention_heads", "is 0");
  return integer({"hidden_size", "n_embd", "dim"}) / n_head;
}

std::optional<double> Config::rope_real(std::string_view key) const {
  const Json* const value = entry(rope_, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) reject(key, "is {}, expected a number", printable(json::json_text(*value)));
  return value->get<double>();
}

}  // namespace steelyard::huggingface
