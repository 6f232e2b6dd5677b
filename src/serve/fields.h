// The fields of a request's JSON object, each checked for its kind and range when it is read. A field that is null
// counts as absent; fields that nobody reads are ignored, as clients send many. Throws Refusal naming the field.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "serve/refusal.h"

namespace steelyard::serve {

class Fields {
 public:
  /// Refusal unless `object` is one. Keeps a reference. prefix: of the names in messages ("stream_options.").
  explicit Fields(const json::Json& object, std::string prefix = "");

  /// Null where there is none.
  const json::Json* find(const std::string& name) const;
  bool flag(const std::string& name, bool otherwise) const;
  std::optional<int64_t> integer(const std::string& name, int64_t least, int64_t most) const;
  std::optional<double> number(const std::string& name, double least, double most) const;
  std::optional<std::string> text(const std::string& name) const;
  /// A string, or a list of up to `most` of them.
  std::vector<std::string> texts(const std::string& name, size_t most) const;
  std::string name_of(const std::string& name) const { return prefix_ + name; }

 private:
  const json::Json& object_;
  std::string prefix_;
};

/// The whole number that `value` is within a range; nothing where it is none. 3.0 is one.
std::optional<int64_t> whole_number(const json::Json& value, int64_t least, int64_t most);

}  // namespace steelyard::serve
