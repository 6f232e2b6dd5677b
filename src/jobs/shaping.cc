#include "jobs/shaping.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace steelyard::jobs {
namespace {

constexpr int64_t kLeastContext = 2, kMostContext = int64_t{1} << 20;

// A field of the options by the name of its flag, set from the word that 0.1.0 recorded.
class ArgumentReader {
 public:
  ArgumentReader(std::string_view name, const std::string& value, const std::string& where)
      : name_(name), value_(value), where_(where) {}

  bool found() const { return found_; }

  template <class T>
  void operator()(const char* name, T& field) {
    if (name_ == name) set(field);
  }
  void bytes(const char* name, uint64_t& field) {
    if (name_ == name) set(field);
  }
  // 0.1.0 had none of these.
  template <class T>
  void group(T& /*fields*/) {}

 private:
  void set(std::string& field) {
    field = value_;
    found_ = true;
  }
  void set(std::vector<std::string>& field) {
    field.push_back(value_);
    found_ = true;
  }
  void set(bool& field) {
    const bool is_true = value_ == "true" || value_ == "1" || value_ == "on" || value_ == "yes";
    if (!is_true && value_ != "false" && value_ != "0" && value_ != "off" && value_ != "no") reject();
    field = is_true;
    found_ = true;
  }
  // Numbers as they were typed: 0x200 was one.
  void set(int64_t& field) {
    char* end = nullptr;
    errno = 0;
    field = std::strtoll(value_.c_str(), &end, 0);
    accept(end);
  }
  void set(uint64_t& field) {
    char* end = nullptr;
    errno = 0;
    field = std::strtoull(value_.c_str(), &end, 0);
    accept(end);
  }
  void set(double& field) {
    char* end = nullptr;
    errno = 0;
    field = std::strtod(value_.c_str(), &end);
    accept(end);
  }
  void accept(const char* end) {
    if (value_.empty() || *end != '\0' || errno != 0) reject();
    found_ = true;
  }
  [[noreturn]] void reject() const {
    fail(where_, "records \"{}\" for --{}, which it does not take", printable(value_), name_);
  }

  std::string_view name_;
  const std::string& value_;
  const std::string& where_;
  bool found_ = false;
};

}  // namespace

void ShapingOptions::check() const {
  if (effort != "fast" && effort != "normal" && effort != "best") {
    fail("", "--effort: expected fast, normal or best, found \"{}\"", printable(effort));
  }
  if (!std::isfinite(prior_weight) || prior_weight < 0) {
    fail("", "--prior-weight: expected a number from 0, found {}", prior_weight);
  }
  if (ctx_size < kLeastContext || ctx_size > kMostContext) {
    fail("", "--ctx-size: expected a number from {} to {}, found {}", kLeastContext, kMostContext, ctx_size);
  }
  if (chunks < 0) fail("", "--chunks: expected a number from 0, found {}", chunks);
  if (keep_split && split_max_size > 0) fail("", "--keep-split excludes --split-max-size");
}

formats::Effort ShapingOptions::chosen_effort() const {
  return effort == "fast"   ? formats::Effort::kFast
         : effort == "best" ? formats::Effort::kBest
                            : formats::Effort::kNormal;
}

std::string recorded_options(const ShapingOptions& options) {
  try {
    return to_json(options).dump();  // json_text() would record other text than was given
  } catch (const Json::type_error&) {
    fail("", "the options cannot be recorded in the file: they hold text that is not UTF-8");
  }
}

ShapingOptions read_options(const std::string& recorded, const std::string& where) {
  const Json json = parse_json(recorded);
  if (json.is_discarded()) fail(where, "key 'steelyard.options' is no JSON: the metadata is damaged");
  ShapingOptions options;
  read_json(json, options, where);
  options.check();
  return options;
}

ShapingOptions read_arguments(const std::vector<std::string>& arguments, const std::string& where) {
  ShapingOptions options;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "true" : argument.substr(equals + 1);
    bool found = name.starts_with("--");
    if (found) {
      name.erase(0, 2);
      for (char& c : name) c = c == '-' ? '_' : c;
      ArgumentReader reader(name, value, where);
      ShapingOptions::fields(options, reader);
      found = reader.found();
    }
    if (!found) fail(where, "records flags that this program does not know: {}", printable(argument));
  }
  options.check();
  return options;
}

}  // namespace steelyard::jobs
