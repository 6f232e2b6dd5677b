#include "base/atomic_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace steelyard {

void check_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) fail(path, "exists and is not a regular file");
}

void rename_into_place(const std::string& from, const std::string& path) {
  if (::rename(from.c_str(), path.c_str()) != 0) fail(path, "cannot rename into place: {}", std::strerror(errno));
}

AtomicFile::AtomicFile(const std::string& path)
    : path_((check_replaceable(path), path)),
      temporary_(fmt::format("{}.{}.tmp", path, ::getpid())),
      file_(temporary_, path) {}

AtomicFile::AtomicFile(const std::string& path, Resume from)
    : path_((check_replaceable(path), path)), temporary_(path + ".partial"), size_(from.size), keep_(true) {
  std::error_code ignored;  // of a file that is not there
  const auto found = from.size > 0 ? std::filesystem::file_size(temporary_, ignored) : 0;
  if (ignored || found < from.size) fail(temporary_, "has less than the {} bytes that were written", from.size);
  file_ = OutputFile(temporary_, path, from.size > 0 ? OutputFile::Content::kKeep : OutputFile::Content::kDiscard);
  file_.resize(from.size);
}

AtomicFile::~AtomicFile() {
  if (!file_.is_open()) return;
  file_.close();
  if (keep_) return;
  ::unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  file_.write_at(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::finish() {
  // The reservation may exceed what was written; the file must not keep blocks beyond its end.
  file_.resize(size_);
  file_.sync();
  rename_into_place(temporary_, path_);
  file_.close();
  sync_folder_of(path_);
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.finish();
}

std::string read_file(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace steelyard
