#include "jobs/search_state.h"

#include <algorithm>
#include <utility>

#include "base/resume_file.h"

namespace steelyard::jobs {
namespace {

constexpr ResumeKind kKind{.magic = "SYSEARC1", .task = "a search", .inputs = "model, text"};

}  // namespace

SearchState::SearchState(const std::string& path, std::string identity) : file_(path, kKind, std::move(identity)) {
  std::optional<ResumeState> saved = file_.load();
  if (!saved) return;
  ByteReader& in = saved->content();
  read_json(Json::parse(in.text(in.remaining()), nullptr, /*allow_exceptions=*/false), *this, path);
}

void SearchState::save() {
  file_.save([&](ResumeFile::Writer& out) { out.append(json_text(to_json(*this))); });
}

SavedTensor* find(std::vector<SavedTensor>& tensors, const std::string& name) {
  const auto found = std::ranges::find(tensors, name, &SavedTensor::tensor);
  return found != tensors.end() ? &*found : nullptr;
}

}  // namespace steelyard::jobs
