#include "chat/json.h"

#include "base/json_size.h"

namespace steelyard::chat {
namespace {

constexpr int64_t kMostLevels = 64;
constexpr int64_t kMostNames = 10'000;

}  // namespace

Json parse_json(std::string_view text) {
  return is_small_json(text, kMostLevels, kMostNames) ? Json::parse(text, nullptr, /*allow_exceptions=*/false)
                                                      : Json(Json::value_t::discarded);
}

}  // namespace steelyard::chat
