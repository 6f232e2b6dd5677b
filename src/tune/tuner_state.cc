// The state of an interrupted run as a resume file: where it is, its comparisons, and all parameters.
#include <algorithm>

#include "base/byte_writer.h"
#include "base/resume_file.h"
#include "tune/tuner.h"

namespace steelyard::tune {
namespace {

constexpr ResumeKind kKind{"STEELTUN", "a tuning run", "model, text, teacher, options"};

}  // namespace

ResumeFile Tuner::open_state(const std::string& path, const std::string& identity) {
  return path.empty() ? ResumeFile() : ResumeFile(path, kKind, identity);
}

void Tuner::save(ResumeFile& file) const {
  file.save([&](ResumeFile::Writer& writer) {
    ByteWriter out(writer);
    out.number<int64_t>(next_);
    out.number<int64_t>(settings_.steps);
    out.number<double>(training_);
    out.number<int64_t>(n_training_);
    out.number<int64_t>(std::ssize(comparisons_));
    for (const Comparison& at : comparisons_) {
      out.number<int64_t>(at.step);
      out.number<double>(at.divergence);
      out.number<double>(at.training);
    }
    parameters_.save([&](std::span<const float> values) { out.values(values); });
  });
}

bool Tuner::load(const ResumeFile& file, ResumeFile::Unusable unusable) {
  std::optional<ResumeState> state = file.load(unusable);
  if (!state) return false;
  ByteReader& in = state->content();
  next_ = in.number<int64_t>(1);
  settings_.steps = in.number<int64_t>(1, settings_.steps);
  if (next_ > settings_.steps + 1) in.reject("found step {} of {}", next_, settings_.steps);
  training_ = in.number<double>();
  n_training_ = in.number<int64_t>(0);
  const int64_t room = static_cast<int64_t>(in.remaining() / (3 * sizeof(int64_t)));
  comparisons_.resize(static_cast<size_t>(in.number<int64_t>(1, std::min(next_, room))));
  for (Comparison& at : comparisons_) {
    at.step = in.number<int64_t>(0, settings_.steps);
    at.divergence = in.number<double>();
    at.training = in.number<double>();
  }
  parameters_.load([&](std::span<float> values) { in.read(values); });
  in.expect_end();
  return true;
}

}  // namespace steelyard::tune
