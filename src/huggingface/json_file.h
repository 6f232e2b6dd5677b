// A file of JSON beside a model's weights, mapped and checked: config.json, tokenizer.json and so on, of any size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/mapped_file.h"
#include "json/document.h"

namespace steelyard::huggingface {

class JsonFile {
 public:
  /// Nothing where the folder has no such file. Error naming it where it is no JSON, or no object.
  static std::optional<JsonFile> find(const std::string& folder, const std::string& name);

  const std::string& path() const { return file_.path(); }
  const json::Value& root() const { return root_; }

  // Of the root's members; nothing where there is none or it is of another kind.
  std::optional<std::string> string(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;

 private:
  explicit JsonFile(const std::string& path);

  MappedFile file_;
  json::Value root_;
};

/// The path of a file of the folder.
std::string in_folder(const std::string& folder, const std::string& name);

}  // namespace steelyard::huggingface
