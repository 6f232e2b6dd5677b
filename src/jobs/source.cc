#include "jobs/source.h"

#include <filesystem>

#include "gguf/reader.h"
#include "huggingface/folder.h"

namespace steelyard::jobs {

std::unique_ptr<const gguf::Source> open_source(const std::string& path, gguf::ReadMode mode) {
  if (std::filesystem::is_directory(path)) return std::make_unique<huggingface::Folder>(path, mode);
  return std::make_unique<gguf::Reader>(path, mode);
}

std::string model_name(const std::string& path) {
  const std::filesystem::path whole(path);
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

}  // namespace steelyard::jobs
