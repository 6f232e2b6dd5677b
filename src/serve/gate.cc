#include "serve/gate.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/secret.h"
#include "serve/refusal.h"

namespace steelyard::serve {
namespace {

bool starts_with_word(std::string_view text, std::string_view word) {
  return text.size() >= word.size() && std::ranges::equal(text.substr(0, word.size()), word, [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == b;
         });
}

// RFC 4648, section 4; up to the first character that is none.
std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes += static_cast<char>(bits >> n_bits & 0xFF);
  }
  return bytes;
}

// "Bearer KEY" of programs; a browser has it as the password of any user.
std::string key_of(std::string_view authorization) {
  constexpr std::string_view kBearer = "bearer ", kBasic = "basic ";
  if (starts_with_word(authorization, kBearer)) return std::string(authorization.substr(kBearer.size()));
  if (!starts_with_word(authorization, kBasic)) return "";
  const std::string user = from_base64(authorization.substr(kBasic.size()));
  const size_t colon = user.find(':');
  return colon == std::string::npos ? "" : user.substr(colon + 1);
}

// A page of another site can have a browser send requests to this machine, but not without this field.
bool is_foreign(const httplib::Request& request) {
  if (!request.has_header("Origin")) return false;
  const std::string origin = request.get_header_value("Origin"), host = request.get_header_value("Host");
  return origin != "http://" + host && origin != "https://" + host;
}

void check_body(const httplib::Request& request, int64_t most) {
  if (request.has_header("Content-Encoding") && request.get_header_value("Content-Encoding") != "identity")
    throw Refusal(415, "invalid_request_error", "compressed bodies are not read");
  if (starts_with_word(request.get_header_value("Content-Type"), "multipart/"))
    throw Refusal(415, "invalid_request_error", "expected a body of JSON");
  if (!request.has_header("Content-Length")) return;
  const std::string length = request.get_header_value("Content-Length");
  if (length.empty() || length.size() > 18 ||
      !std::ranges::all_of(length, [](unsigned char c) { return std::isdigit(c); }) ||
      request.get_header_value_count("Content-Length") > 1 || request.has_header("Transfer-Encoding"))
    throw Refusal(400, "invalid_request_error", "Content-Length: expected one number");
  if (std::stoll(length) > most)
    throw Refusal(413, "invalid_request_error", fmt::format("the body is larger than {} bytes", most));
}

}  // namespace

void Gate::check(const httplib::Request& request) const {
  const auto path = paths_.find(request.path);
  const bool open = path != paths_.end() && path->second.open;
  if (!open && !api_key_.empty() && !equals_secret(key_of(request.get_header_value("Authorization")), api_key_))
    throw Refusal(401, "authentication_error", "a valid API key is required", "", "invalid_api_key");
  if (path == paths_.end())
    throw Refusal(404, "invalid_request_error", fmt::format("there is no {}", printable(request.path)));
  if (is_foreign(request)) throw Refusal(403, "permission_error", "requests of other sites' pages are not answered");
  if (request.method != path->second.method)
    throw Refusal(405, "invalid_request_error",
                  fmt::format("{}: expected {}", printable(request.path), path->second.method));
  check_body(request, body_bytes_);
}

}  // namespace steelyard::serve
