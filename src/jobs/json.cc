#include "jobs/json.h"

#include "base/json_size.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kMostNames = 1000;

}  // namespace

std::string json_text(const Json& json, int indent) {
  const std::string text = json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  std::string out;
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {  // C0 is escaped already, and controls are in strings only
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte != 0x7F && !c1) continue;
    out.append(text, done, i - done);
    out += fmt::format("\\u{:04x}", c1 ? static_cast<unsigned char>(text[i + 1]) : byte);
    i += c1 ? 1 : 0;
    done = i + 1;
  }
  return done == 0 ? text : out.append(text, done);
}

Json parse_json(std::string_view text, int64_t most_levels) {
  return is_small_json(text, most_levels, kMostNames) ? Json::parse(text, nullptr, /*allow_exceptions=*/false)
                                                      : Json(Json::value_t::discarded);
}

}  // namespace steelyard::jobs
