// What a client has done wrong, or why it has to come back later: thrown by whatever reads requests, and answered as
// OpenAI's error object with its HTTP status.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "json/json.h"

namespace steelyard::serve {

struct Refusal : std::runtime_error {
  Refusal(int status_, std::string type_, const std::string& message, std::string param_ = "", std::string code_ = "")
      : std::runtime_error(message),
        status(status_),
        type(std::move(type_)),
        param(std::move(param_)),
        code(std::move(code_)) {}

  int status;
  std::string type;   ///< "invalid_request_error", ...
  std::string param;  ///< the field that is wrong; empty: none
  std::string code;   ///< empty: none

  json::Json body() const {
    const auto or_null = [](const std::string& text) { return text.empty() ? json::Json() : json::Json(text); };
    return {{"error", {{"message", what()}, {"type", type}, {"param", or_null(param)}, {"code", or_null(code)}}}};
  }
};

/// Throws what is wrong with a request's field; param may be empty.
template <typename... Args>
[[noreturn]] void refuse(const std::string& param, fmt::format_string<Args...> format, Args&&... args) {
  throw Refusal(400, "invalid_request_error", fmt::format(format, std::forward<Args>(args)...), param);
}

}  // namespace steelyard::serve
