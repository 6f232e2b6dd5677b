#include "jobs/search_state.h"

#include <algorithm>
#include <utility>

#include "base/resume_file.h"

namespace steelyard::jobs {
namespace {

constexpr ResumeKind kKind{.magic = "SYSEARC1", .task = "a search", .inputs = "model, text"};

}  // namespace

SearchState::SearchState(std::string path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
  if (!is_kept()) return;
  auto file = ResumeFile::open(path_, kKind, identity_);
  if (!file) return;
  read_json(Json::parse(file->state().text(file->state().remaining()), nullptr, /*allow_exceptions=*/false), *this,
            path_);
}

void SearchState::save() const {
  if (!is_kept()) return;
  ResumeFileWriter file(path_, kKind, identity_);
  file.append(json_text(to_json(*this)));
  file.finish();
}

SavedTensor* find(std::vector<SavedTensor>& tensors, const std::string& name) {
  const auto found = std::ranges::find(tensors, name, &SavedTensor::tensor);
  return found != tensors.end() ? &*found : nullptr;
}

}  // namespace steelyard::jobs
