// What the parameters of tools are, by their JSON schemas: formats that write every value as bare text leave it to the
// reader whether 2 is a number. Called by the readers of calls (call_syntax.h).
#pragma once

#include <string_view>
#include <vector>

#include "chat/json.h"

namespace steelyard::chat {

class ToolSchemas {
 public:
  /// The tools of a request: [{"type": "function", "function": {name, parameters}}], or the functions alone. Whatever
  /// has another form is left out. Null: none.
  explicit ToolSchemas(const Json& tools);

  bool empty() const { return tools_.empty(); }

  /// `text` as the value of a parameter: a string where the schema says so, or where it is no JSON; else the JSON.
  Json value(std::string_view function, std::string_view parameter, std::string_view text) const;

  /// The names of the parameters, in the schema's order.
  std::vector<std::string_view> parameters(std::string_view function) const;

 private:
  // The schemas of its parameters, or null.
  const Json* properties(std::string_view function) const;

  Json tools_ = Json::array();
};

}  // namespace steelyard::chat
