#include "serve/fields.h"

#include <cmath>

namespace steelyard::serve {

Fields::Fields(const json::Json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {
  if (object.is_object()) return;
  const std::string name = prefix_.substr(0, prefix_.empty() ? 0 : prefix_.size() - 1);
  refuse(name, "{}: expected an object", name.empty() ? "the body" : name);
}

const json::Json* Fields::find(const std::string& name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool Fields::flag(const std::string& name, bool otherwise) const {
  const json::Json* const value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(name_of(name), "{}: expected true or false", name_of(name));
  return value->get<bool>();
}

std::optional<int64_t> whole_number(const json::Json& value, int64_t least, int64_t most) {
  if (!value.is_number()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return std::nullopt;
  int64_t number = 0;
  if (value.is_number_float()) {
    const double real = value.get<double>();
    if (!(std::abs(real) < 9e15) || real != std::floor(real)) return std::nullopt;  // beyond, a double skips numbers
    number = static_cast<int64_t>(real);
  } else {
    number = value.get<int64_t>();
  }
  return number >= least && number <= most ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> Fields::integer(const std::string& name, int64_t least, int64_t most) const {
  const json::Json* const value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = whole_number(*value, least, most);
  if (!number) refuse(name_of(name), "{}: expected a whole number from {} to {}", name_of(name), least, most);
  return number;
}

std::optional<double> Fields::number(const std::string& name, double least, double most) const {
  const json::Json* const value = find(name);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= least && number <= most))
    refuse(name_of(name), "{}: expected a number from {} to {}", name_of(name), least, most);
  return number;
}

std::optional<std::string> Fields::text(const std::string& name) const {
  const json::Json* const value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(name_of(name), "{}: expected a string", name_of(name));
  return value->get<std::string>();
}

std::vector<std::string> Fields::texts(const std::string& name, size_t most) const {
  const json::Json* const value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const auto expected = [&] {
    refuse(name_of(name), "{}: expected a string or up to {} of them", name_of(name), most);
  };
  if (!value->is_array() || value->size() > most) expected();
  std::vector<std::string> texts;
  for (const json::Json& element : *value) {
    if (!element.is_string()) expected();
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

}  // namespace steelyard::serve
