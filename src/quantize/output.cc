#include "quantize/output.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_target.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "base/temporary_file.h"
#include "gguf/shards.h"

namespace steelyard::quantize {
namespace {

using Clock = std::chrono::steady_clock;

// With more syncs a killed machine loses less, but the run waits longer. At most a hundredth of the time is spent on
// them.
constexpr int kSyncShare = 100;
constexpr auto kSyncInterval = std::chrono::seconds(5);
constexpr uint64_t kSyncBytes = uint64_t{1} << 30;

// Bytes that are being flushed to the disk while the next ones are made. Everything before them is dropped from memory.
constexpr uint64_t kCacheWindow = uint64_t{64} << 20;

// The number of shards is part of the identity, so that a run that starts over can find the files to remove.
constexpr std::string_view kShards = "shards";

size_t shard_count(const RunIdentity& identity) {
  for (const auto& [name, value] : identity) {
    if (name != kShards) continue;
    size_t count = 0;
    const char* const end = value.data() + value.size();
    const auto [parsed, error] = std::from_chars(value.data(), end, count);  // no sign
    return error == std::errc() && parsed == end && count <= gguf::kMaxShards ? count : 0;
  }
  return 0;
}

void refuse_unfinished(const std::string& target, const Journal& journal, ResumePolicy resume_policy) {
  const JournalContent& found = journal.content();
  if (resume_policy == ResumePolicy::kRefuse && !found.tensors.empty()) {
    fail(target, "an interrupted run has finished {} of its tensors; --resume goes on with it, --restart discards it",
         found.tensors.size());
  }
  if (resume_policy != ResumePolicy::kDiscard && found.identity.empty() && found.damaged) {
    fail(journal.path(), "is damaged or no journal; --restart begins anew");
  }
}

}  // namespace

void check_interrupted(const std::string& target, ResumePolicy resume_policy) {
  refuse_unfinished(target, Journal(journal_path(target), target), resume_policy);
}

std::string journal_path(const std::string& target) { return output_target(target) + ".journal"; }

std::vector<std::string> written_paths(const std::string& target, const std::vector<ShardFile>& files) {
  std::vector<std::string> paths = {journal_path(target)};
  for (const ShardFile& file : files) {
    paths.push_back(file.path);
    paths.push_back(file.path + ".partial");
  }
  return paths;
}

Output::Output(const std::string& target, const std::vector<ShardFile>& files, RunIdentity identity,
               ResumePolicy resume_policy)
    : target_(target), journal_(journal_path(target), target) {
  Sha256 headers;
  for (const ShardFile& file : files) {
    files_.push_back({output_target(file.path), gguf::lay_out(file.path, file.metadata, file.tensors), {}});
    headers.update(files_.back().layout.header);
  }
  for (size_t i = 0; i < files_.size(); ++i) {
    for (const gguf::TensorInfo& tensor : files_[i].layout.tensors) locations_.push_back({i, &tensor});
  }
  identity.emplace_back(kShards, std::to_string(files[0].path == target ? 0 : files.size()));
  // Everything else that shapes the result shows in its headers: edited metadata, decisions, the order of tensors.
  identity.emplace_back("result", headers.hex());

  refuse_unfinished(target, journal_, resume_policy);
  const JournalContent& found = journal_.content();
  if (resume_policy == ResumePolicy::kResume && !found.tensors.empty()) {
    refuse_other_identity(identity);
    resume();
  } else {
    begin(identity, resume_policy);
  }
  next_sync_ = Clock::now();
}

void Output::discard() {
  // Without a journal nobody would know whose the files are, so it goes last.
  for (File& file : files_) {
    if (!file.file.is_open()) continue;
    remove_file(file.partial());
    file.file.close();
  }
  for (TemporaryFile& file : worthless_) file.keep();
  journal_.remove();
}

std::vector<std::string> Output::paths() const {
  std::vector<std::string> paths;
  for (const File& file : files_) paths.push_back(file.path);
  return paths;
}

uint64_t Output::total_bytes() const {
  uint64_t bytes = 0;
  for (const File& file : files_) bytes += file.layout.file_bytes;
  return bytes;
}

void Output::refuse_other_identity(const RunIdentity& identity) const {
  constexpr size_t kShown = 512;  // the options of a run, all of them
  const RunIdentity& theirs = journal_.content().identity;
  for (size_t i = 0; i < std::max(identity.size(), theirs.size()); ++i) {
    if (i < identity.size() && i < theirs.size() && identity[i] == theirs[i]) continue;
    const auto& [name, value] = i < theirs.size() ? theirs[i] : identity[i];
    const bool comparable = i < identity.size() && i < theirs.size() && identity[i].first == name;
    const std::string ours = comparable ? identity[i].second : "";
    fail(target_, "the interrupted run differs in {}: found '{}', now '{}'; --restart begins anew", printable(name),
         printable(value, kShown), printable(ours, kShown));
  }
}

void Output::begin(const RunIdentity& identity, ResumePolicy resume_policy) {
  for (const File& file : files_) {
    check_replaceable(file.partial());
    if (journal_.was_there() || resume_policy == ResumePolicy::kDiscard || !std::filesystem::exists(file.partial()))
      continue;
    fail(file.partial(), "exists, and no interrupted run speaks of it; --restart overwrites it");
  }
  const size_t n_before = shard_count(journal_.content().identity);
  journal_.begin(identity);
  for (const std::string& path : shard_paths(target_, n_before)) remove_file(output_target(path) + ".partial");
  for (File& file : files_) {
    file.file = OutputFile(file.partial(), file.path, OutputFile::Content::kDiscard);
    worthless_.emplace_back(file.partial());
    file.file.reserve(file.layout.file_bytes);
    file.file.write_at(0, std::as_bytes(std::span(file.layout.header)));
  }
}

void Output::resume() {
  const JournalContent& found = journal_.content();
  if (found.tensors.size() > locations_.size())
    fail(journal_.path(), "has more tensors than the model; --restart begins anew");
  finished_ = found.tensors;
  for (File& file : files_) {
    std::error_code ignored;
    // In a complete result, files that have their final names already need no partial one.
    if (found.complete && !std::filesystem::exists(file.partial(), ignored)) continue;
    file.file = OutputFile(file.partial(), file.path, OutputFile::Content::kKeep);
    if (found.complete) continue;
    file.file.reserve(file.layout.file_bytes);
    file.file.write_at(0, std::as_bytes(std::span(file.layout.header)));
  }
  check_content("is not what the journal says; --restart begins anew");
  journal_.resume();
}

// Compares the files' contents with the hashes of the finished tensors.
void Output::check_content(const std::string& doubt) const {
  std::vector<MappedFile> maps;
  for (const File& file : files_) maps.emplace_back(file.place(), MappedFile::Writer::kOurs);
  parallel_for(static_cast<int64_t>(finished_.size()), 1, [&](int64_t i) {
    const auto& [number, tensor] = locations_[static_cast<size_t>(i)];
    const MappedFile& map = maps[number];
    const uint64_t begin = files_[number].layout.begin(*tensor);
    const bool inside = begin <= map.bytes().size() && tensor->n_bytes <= map.bytes().size() - begin;
    if (!inside || sha256(map.bytes().subspan(begin, tensor->n_bytes)) != finished_[static_cast<size_t>(i)].result) {
      fail(map.path(), "tensor {} {}", printable(tensor->name), doubt);
    }
    map.release(begin, begin + tensor->n_bytes);
  });
}

std::span<const std::byte> Output::content(size_t i) {
  STEELYARD_CHECK(i < finished_.size());
  if (maps_.empty()) {
    for (const File& file : files_) maps_.emplace_back(file.place(), MappedFile::Writer::kOurs);
  }
  const auto& [number, tensor] = locations_[i];
  return maps_[number].bytes().subspan(files_[number].layout.begin(*tensor), tensor->n_bytes);
}

void Output::write(uint64_t begin, std::span<const std::byte> bytes) {
  STEELYARD_CHECK(finished_.size() < locations_.size());
  const auto& [number, tensor] = locations_[finished_.size()];
  STEELYARD_CHECK(begin <= tensor->n_bytes && bytes.size() <= tensor->n_bytes - begin);
  const uint64_t at = files_[number].layout.begin(*tensor) + begin;
  files_[number].file.write_at(at, bytes);
  unsynced_bytes_ += bytes.size();
  pass_through_cache(number, at + bytes.size());
}

// Two windows move through the file. One is being written to the disk. The one before it is on the disk, and is
// dropped.
void Output::pass_through_cache(size_t number, uint64_t end) {
  if (number != cached_file_) {
    cached_file_ = number;
    dropped_ = started_ = 0;
  }
  if (end - started_ < kCacheWindow) return;
  OutputFile& file = files_[number].file;
  file.write_behind(started_, end);
  if (started_ > dropped_) file.forget(dropped_, started_);
  dropped_ = started_;
  started_ = end;
}

void Output::finish_tensor(TensorHashes hashes) {
  finished_.push_back(std::move(hashes));
  if (unsynced_bytes_ >= kSyncBytes || Clock::now() >= next_sync_) checkpoint();
}

// Data first, then the record that vouches for it.
void Output::checkpoint() {
  const std::span<const TensorHashes> fresh = std::span(finished_).subspan(journal_.content().tensors.size());
  const auto begin = Clock::now();
  if (!fresh.empty()) {
    const size_t first = locations_[finished_.size() - fresh.size()].file, last = locations_[finished_.size() - 1].file;
    for (size_t i = first; i <= last; ++i) files_[i].file.sync();
    journal_.append(fresh);
    for (TemporaryFile& file : worthless_) file.keep();
  }
  unsynced_bytes_ = 0;
  const auto end = Clock::now();
  next_sync_ = end + std::min<Clock::duration>(kSyncInterval, kSyncShare * (end - begin));
}

void Output::verify() {
  if (!journal_.content().complete) checkpoint();
  for (File& file : files_) {
    if (file.file.is_open()) file.file.forget(0, file.layout.file_bytes);
  }
  check_content("reads back otherwise than it was written");
}

void Output::finish(const std::string& header) {
  STEELYARD_CHECK(finished_.size() == locations_.size() && header.size() == files_[0].layout.header.size());
  check_mapped_files_unchanged();
  if (!journal_.content().complete) {
    checkpoint();
    files_[0].file.write_at(0, std::as_bytes(std::span(header)));
    for (File& file : files_) {
      file.file.resize(file.layout.file_bytes);
      file.file.sync();
    }
    journal_.append_complete();
    for (TemporaryFile& file : worthless_) file.keep();  // also of a model without tensors
  }
  for (File& file : files_) {
    if (!file.file.is_open()) continue;
    rename_into_place(file.partial(), file.path);
    file.file.close();
  }
  sync_folder_of(target_);
  journal_.remove();
}

}  // namespace steelyard::quantize
