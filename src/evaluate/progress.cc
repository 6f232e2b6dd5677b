// An evaluation's progress as a resume file: the base's length, two counts, then scores and routers as they are in
// memory.
#include "base/byte_writer.h"
#include "base/resume_file.h"
#include "evaluate/evaluation.h"

namespace steelyard::evaluate {
namespace {

constexpr ResumeKind kKind{"STEELPRG", "an evaluation", "model, text, base"};

}  // namespace

void save_progress(const std::string& path, const std::string& identity, const Progress& progress) {
  ResumeFileWriter file(path, kKind, identity);
  ByteWriter out(file);
  out.number<uint64_t>(progress.base_bytes);
  out.number<uint64_t>(progress.scores.size());
  out.number<uint64_t>(progress.routers.size());
  out.values(std::span<const TokenScore>(progress.scores));
  out.values(std::span<const RouterCounts>(progress.routers));
  file.finish();
}

std::optional<Progress> load_progress(const std::string& path, const std::string& identity) {
  std::optional<ResumeFile> file = ResumeFile::open(path, kKind, identity);
  if (!file) return std::nullopt;
  ByteReader& in = file->state();
  Progress progress;
  progress.base_bytes = in.number<uint64_t>();
  const auto n_scores = in.number<uint64_t>(), n_routers = in.number<uint64_t>();
  progress.scores = in.values<TokenScore>(n_scores);
  progress.routers = in.values<RouterCounts>(n_routers);
  in.expect_end();
  return progress;
}

}  // namespace steelyard::evaluate
