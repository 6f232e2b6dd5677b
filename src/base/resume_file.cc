#include "base/resume_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/output_target.h"

namespace steelyard {
namespace {

constexpr size_t kMagicBytes = 8;

}  // namespace

ResumeState::ResumeState(MappedFile file, const ResumeKind& kind) : file_(std::move(file)), content_({}, file_.path()) {
  ByteReader all(file_.bytes(), file_.path());
  if (all.remaining() < kMagicBytes || all.text(kMagicBytes) != kind.magic) {
    fail(file_.path(), "is not the progress of {}", kind.task);
  }
  damaged_ = all.remaining() < 2 * kSha256Digits;
  if (damaged_) return;
  const auto checked = file_.bytes().first(file_.bytes().size() - kSha256Digits);
  all.seek(checked.size());
  damaged_ = all.text(kSha256Digits) != sha256(checked);
  content_ = ByteReader(checked.subspan(kMagicBytes), file_.path());
  content_.set_subject("is damaged");
  identity_ = content_.text(kSha256Digits);
}

ResumeFile::Writer::Writer(const std::string& path, const ResumeKind& kind, std::string_view identity) : file_(path) {
  append(kind.magic);
  append(identity);
}

void ResumeFile::Writer::append(std::string_view bytes) {
  file_.append(bytes);
  hash_.update(bytes);
}

OutputFile ResumeFile::Writer::finish() {
  file_.append(hash_.hex());
  return file_.finish_locked();
}

ResumeFile::ResumeFile(const std::string& path, const ResumeKind& kind, std::string identity)
    : kind_(&kind), identity_(std::move(identity)) {
  if (path.empty()) return;
  STEELYARD_CHECK(kind.magic.size() == kMagicBytes && identity_.size() == kSha256Digits);
  path_ = output_target(path);
  const LockedFile file = open_locked(path_, path_, O_RDWR | O_CREAT);
  fd_ = file.fd;
  was_there_ = !file.created;
  if (::lseek(fd_, 0, SEEK_END) == 0) unsaved_ = TemporaryFile(path_);
}

ResumeFile::ResumeFile(ResumeFile&& other) noexcept { *this = std::move(other); }

ResumeFile& ResumeFile::operator=(ResumeFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(kind_, other.kind_);
  std::swap(identity_, other.identity_);
  std::swap(fd_, other.fd_);
  std::swap(was_there_, other.was_there_);
  std::swap(unsaved_, other.unsaved_);
  return *this;
}

ResumeFile::~ResumeFile() {
  unsaved_.remove();  // before the lock is given up
  if (fd_ >= 0) ::close(fd_);
}

std::optional<ResumeState> ResumeFile::load(Unusable unusable) const {
  if (!is_kept() || ::lseek(fd_, 0, SEEK_END) == 0) return std::nullopt;
  ResumeState state(MappedFile(path_), *kind_);
  if (!state.is_damaged() && state.identity() == identity_) return state;
  if (unusable == Unusable::kReplace) return std::nullopt;
  if (state.is_damaged()) fail(path_, "is damaged");
  fail(path_, "is the progress of a run with another {} or other settings; delete it to begin anew", kind_->inputs);
}

void ResumeFile::take_place_of_old(OutputFile file) {
  unsaved_.keep();
  ::close(std::exchange(fd_, file.release()));
}

void ResumeFile::remove() {
  if (!is_kept()) return;
  unsaved_.keep();
  remove_file(path_);
  ::close(std::exchange(fd_, -1));
}

}  // namespace steelyard
