#include "base/resume_file.h"

#include <filesystem>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace steelyard {
namespace {

constexpr size_t kMagicBytes = 8;

}  // namespace

ResumeFileWriter::ResumeFileWriter(const std::string& path, const ResumeKind& kind, std::string_view identity)
    : file_(path) {
  STEELYARD_CHECK(kind.magic.size() == kMagicBytes && identity.size() == kSha256Digits);
  append(kind.magic);
  append(identity);
}

void ResumeFileWriter::append(std::string_view bytes) {
  file_.append(bytes);
  hash_.update(bytes);
}

void ResumeFileWriter::finish() {
  file_.append(hash_.hex());
  file_.finish();
}

std::optional<ResumeFile> ResumeFile::open(const std::string& path, const ResumeKind& kind, std::string_view identity) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  ResumeFile file(MappedFile(path), kind);
  if (file.state_.text(kSha256Digits) != identity) {
    fail(path, "is the progress of a run with another {} or other settings; delete it to begin anew", kind.inputs);
  }
  return file;
}

ResumeFile::ResumeFile(MappedFile file, const ResumeKind& kind) : file_(std::move(file)), state_({}, file_.path()) {
  ByteReader all(file_.bytes(), file_.path());
  if (all.remaining() < kMagicBytes + 2 * kSha256Digits || all.text(kMagicBytes) != kind.magic) {
    fail(file_.path(), "is not the progress of {}", kind.task);
  }
  const auto content = file_.bytes().first(file_.bytes().size() - kSha256Digits);
  all.seek(content.size());
  if (all.text(kSha256Digits) != sha256(content)) fail(file_.path(), "is damaged");
  state_ = ByteReader(content.subspan(kMagicBytes), file_.path());
  state_.set_subject("is damaged");
}

}  // namespace steelyard
