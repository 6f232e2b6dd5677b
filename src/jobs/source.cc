#include "jobs/source.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "gguf/reader.h"
#include "huggingface/folder.h"

namespace steelyard::jobs {

std::unique_ptr<const gguf::Source> open_source(const std::string& path, gguf::ReadMode mode) {
  if (std::filesystem::is_directory(path)) return std::make_unique<huggingface::Folder>(path, mode);
  return std::make_unique<gguf::Reader>(path, mode);
}

void add_source_findings(const gguf::Source& source, std::span<const plan::Decision> decisions,
                         std::vector<plan::Finding>& found) {
  const auto* const folder = dynamic_cast<const huggingface::Folder*>(&source);
  if (folder == nullptr) return;
  for (const std::string& note : folder->notes()) add(found, plan::Severity::kNote, "not part of the model here", note);
  for (const plan::Decision& decision : decisions) {
    const uint64_t stored = folder->stored_bytes(*decision.tensor);
    const bool is_protected = decision.reason == plan::Reason::kProtected;  // norms and the like are F32 in GGUF
    if (!is_protected && stored < decision.tensor->n_bytes && decision.bytes > stored) {
      add(found, decision.reason == plan::Reason::kRule ? plan::Severity::kWarning : plan::Severity::kNote,
          fmt::format("larger in {} than as it was published", format(decision.type).name),
          printable(decision.tensor->name));
    }
  }
  std::ranges::stable_sort(found, {}, &plan::Finding::severity);
}

std::string model_name(const std::string& path) {
  const std::filesystem::path whole(path);
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

}  // namespace steelyard::jobs
