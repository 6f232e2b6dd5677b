// An evaluation's progress as a resume file: the base's length, two counts, then scores and routers as they are in
// memory.
#include "base/byte_writer.h"
#include "base/resume_file.h"
#include "evaluate/evaluation.h"

namespace steelyard::evaluate {
namespace {

constexpr ResumeKind kKind{"STEELPRG", "an evaluation", "model, text, base"};

}  // namespace

ResumeFile open_progress(const std::string& path, const std::string& identity) { return {path, kKind, identity}; }

void save_progress(ResumeFile& file, const Progress& progress) {
  file.save([&](ResumeFile::Writer& writer) {
    ByteWriter out(writer);
    out.number<uint64_t>(progress.base_bytes);
    out.number<uint64_t>(progress.scores.size());
    out.number<uint64_t>(progress.routers.size());
    out.values(std::span<const TokenScore>(progress.scores));
    out.values(std::span<const RouterCounts>(progress.routers));
  });
}

std::optional<Progress> load_progress(const ResumeFile& file) {
  std::optional<ResumeState> state = file.load();
  if (!state) return std::nullopt;
  ByteReader& in = state->content();
  Progress progress;
  progress.base_bytes = in.number<uint64_t>();
  const auto n_scores = in.number<uint64_t>(), n_routers = in.number<uint64_t>();
  progress.scores = in.values<TokenScore>(n_scores);
  progress.routers = in.values<RouterCounts>(n_routers);
  in.expect_end();
  return progress;
}

}  // namespace steelyard::evaluate
