// What config.json says of a model, by name. Where a model has towers for images or sound, what it says of the text is
// one level deeper, and stands before what is said of the whole.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/json.h"

namespace steelyard::huggingface {

/// A list of names, of which the first counts that is there.
using Names = std::initializer_list<std::string_view>;

class Config {
 public:
  /// Reads config.json of the folder. Error naming the file where it is missing, no JSON, or no object.
  explicit Config(const std::string& folder);

  const std::string& path() const { return path_; }
  /// The class that transformers computes the model with: the text's, where it has one.
  const std::string& architecture() const { return architecture_; }

  /// Null when there is none of the names, and for null itself.
  const json::Json* find(Names names) const;
  bool contains(std::string_view name) const { return find({name}) != nullptr; }

  // Error naming the key when it is missing or of another kind. Integers are of 0 to 2^31 - 1: all are sizes or counts.
  int64_t integer(Names names) const;
  std::optional<int64_t> optional_integer(Names names) const;
  std::optional<double> optional_real(Names names) const;
  std::optional<bool> optional_boolean(Names names) const;
  std::string string(Names names, std::string_view absent) const;
  /// Of a list; empty where there is none.
  std::vector<std::string> strings(std::string_view name) const;
  std::vector<int64_t> integers(std::string_view name) const;

  /// The width of a head: head_dim, or its share of the embedding.
  int64_t head_dim() const;

  /// Of rope_parameters, which older files call rope_scaling, with what they have beside it: rope_theta,
  /// partial_rotary_factor. Null where there is no such key.
  const json::Json& rope() const { return rope_; }
  /// The same of layers with a window; null where they have none of their own.
  const json::Json& window_rope() const { return window_rope_; }
  std::optional<double> rope_real(std::string_view key) const;

  template <typename... Args>
  [[noreturn]] void reject(std::string_view key, fmt::format_string<Args...> format, Args&&... args) const {
    fail(path_, "key '{}' {}", printable(key), fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void read_rope();

  std::string path_;
  json::Json json_;
  std::string architecture_;
  json::Json rope_, window_rope_;
};

}  // namespace steelyard::huggingface
