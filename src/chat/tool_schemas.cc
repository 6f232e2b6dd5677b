#include "chat/tool_schemas.h"

#include <algorithm>
#include <string>

namespace steelyard::chat {
namespace {

const Json* member(const Json* of, const char* name) {
  if (of == nullptr || !of->is_object()) return nullptr;
  const auto found = of->find(name);
  return found == of->end() ? nullptr : &*found;
}

bool is_text(const Json* json, std::string_view text) {
  return json != nullptr && json->is_string() && json->get_ref<const std::string&>() == text;
}

// Whether the schema admits values of a type; all where it says nothing.
bool admits(const Json* schema, std::string_view type) {
  for (const char* const choices : {"anyOf", "oneOf"}) {
    if (const Json* any = member(schema, choices); any != nullptr && any->is_array()) {
      return std::ranges::any_of(*any, [&](const Json& choice) { return admits(&choice, type); });
    }
  }
  const Json* types = member(schema, "type");
  if (types == nullptr) return true;
  if (types->is_array()) return std::ranges::any_of(*types, [&](const Json& one) { return is_text(&one, type); });
  return is_text(types, type);
}

bool admits_value(const Json* schema, const Json& value) {
  if (value.is_number_integer()) return admits(schema, "integer") || admits(schema, "number");
  if (value.is_number()) return admits(schema, "number");
  if (value.is_boolean()) return admits(schema, "boolean");
  if (value.is_array()) return admits(schema, "array");
  if (value.is_object()) return admits(schema, "object");
  if (value.is_null()) return admits(schema, "null");
  return false;
}

}  // namespace

ToolSchemas::ToolSchemas(const Json& tools) {
  if (!tools.is_array()) return;
  for (const Json& tool : tools) {
    const Json* function = member(&tool, "function");
    if (function == nullptr) function = &tool;
    const Json* name = member(function, "name");
    if (name != nullptr && name->is_string()) tools_.push_back(*function);
  }
}

const Json* ToolSchemas::properties(std::string_view function) const {
  for (const Json& tool : tools_) {
    if (!is_text(member(&tool, "name"), function)) continue;
    const Json* found = member(member(&tool, "parameters"), "properties");
    return found != nullptr && found->is_object() ? found : nullptr;
  }
  return nullptr;
}

std::vector<std::string_view> ToolSchemas::parameters(std::string_view function) const {
  std::vector<std::string_view> names;
  if (const Json* all = properties(function)) {
    for (auto field = all->begin(); field != all->end(); ++field) names.push_back(field.key());
  }
  return names;
}

Json ToolSchemas::value(std::string_view function, std::string_view parameter, std::string_view text) const {
  const Json* schema = member(properties(function), std::string(parameter).c_str());
  Json parsed = parse_json(text);
  // As Python prints them, which some templates have shown to the model.
  if (text == "True") parsed = true;
  if (text == "False") parsed = false;
  if (text == "None") parsed = nullptr;
  const bool says_so = member(schema, "type") != nullptr || member(schema, "anyOf") || member(schema, "oneOf");
  const bool is_string = (says_so && admits(schema, "string")) || parsed.is_discarded() || parsed.is_string();
  if (!is_string && admits_value(schema, parsed)) return parsed;
  // Nothing where something else than text must be: absent.
  if (!is_string && parsed.is_null()) return parsed;
  return std::string(text);
}

}  // namespace steelyard::chat
