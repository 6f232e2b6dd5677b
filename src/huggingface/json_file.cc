// See json_file.h.
#include "huggingface/json_file.h"

#include <filesystem>

#include "base/error.h"

namespace steelyard::huggingface {
namespace {

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

std::string in_folder(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

std::optional<JsonFile> JsonFile::find(const std::string& folder, const std::string& name) {
  const std::string path = in_folder(folder, name);
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) return std::nullopt;
  return JsonFile(path);
}

JsonFile::JsonFile(const std::string& path) : file_(path), root_(json::parse_document(text_of(file_), path)) {
  if (!root_.is(json::Value::Kind::kObject)) fail(path, "found {}, expected an object", root_.kind_name());
}

std::optional<std::string> JsonFile::string(std::string_view name) const {
  const auto value = root_.find(name);
  return value ? value->string() : std::nullopt;
}

std::optional<int64_t> JsonFile::integer(std::string_view name) const {
  const auto value = root_.find(name);
  return value ? value->integer() : std::nullopt;
}

std::optional<bool> JsonFile::boolean(std::string_view name) const {
  const auto value = root_.find(name);
  return value ? value->boolean() : std::nullopt;
}

}  // namespace steelyard::huggingface
