// The result while it is written: files named "<final>.partial" with a complete header, and the journal of the finished
// tensors in them. Tensors come in file order. The final names appear only in finish(), when everything is on the disk.
//
// A killed run leaves partial files and journal, and a later Output with the same identity continues them. One that
// fails before it has finished any tensor leaves nothing. Used by quantize().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/output_file.h"
#include "base/temporary_file.h"
#include "gguf/layout.h"
#include "quantize/journal.h"
#include "quantize/shards.h"

namespace steelyard::quantize {

/// What to do with the work of an interrupted run for the same target.
enum class ResumePolicy {
  kRefuse,   ///< Error if it has finished anything: hours of work are not lost to a forgotten flag
  kResume,   ///< go on after it, or begin if there is none; Error if it was another run
  kDiscard,  ///< begin anew
};

class Output {
 public:
  /// Lays out `files`, locks the target, and reserves the disk space. Error if that is impossible, if another run is
  /// working on the target, or if earlier work does not match. The message names the difference.
  Output(const std::string& target, const std::vector<ShardFile>& files, RunIdentity identity,
         ResumePolicy resume_policy);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  size_t n_tensors() const { return locations_.size(); }
  /// Tensors that are finished; at first those of an interrupted run.
  const std::vector<TensorHashes>& finished() const { return finished_; }
  /// Final names.
  std::vector<std::string> paths() const;
  uint64_t total_bytes() const;

  /// The bytes of a finished tensor, in the file itself; valid as long as the Output.
  std::span<const std::byte> content(size_t tensor);

  /// Writes bytes [begin, begin + bytes.size()) of the next tensor to be finished. Only reading may run at the same
  /// time.
  void write(uint64_t begin, std::span<const std::byte> bytes);
  /// All bytes of the next tensor are written. Makes the data durable from time to time.
  void finish_tensor(TensorHashes hashes);

  /// Makes everything durable and reads every finished tensor back from the disk. Error naming the first that differs.
  void verify();

  /// Removes everything that was written, including the journal, because nothing can use it. Ends the Output.
  void discard();

  /// Replaces the first file's header by `header`, of the same length, makes everything durable and renames the files.
  void finish(const std::string& header);

 private:
  struct File {
    std::string path;
    gguf::Layout layout;
    OutputFile file;  // closed once it has its final name

    std::string partial() const { return path + ".partial"; }
    /// Where its bytes are: a complete file may have its final name already.
    std::string place() const { return file.is_open() ? partial() : path; }
  };
  struct TensorLocation {
    size_t file;
    const gguf::TensorInfo* tensor;
  };

  void refuse_other_identity(const RunIdentity& identity) const;
  void begin(const RunIdentity& identity, ResumePolicy resume_policy);
  void resume();
  void check_content(const std::string& doubt) const;
  void checkpoint();
  void pass_through_cache(size_t file, uint64_t end);

  std::string target_;
  Journal journal_;
  std::vector<File> files_;
  std::vector<MappedFile> maps_;           // of the partial files, once content() was asked for
  std::vector<TensorLocation> locations_;  // [n_tensors]
  std::vector<TensorHashes> finished_;     // the first of them are in the journal, the others wait for a checkpoint

  std::vector<TemporaryFile> worthless_;  // the partial files, while the journal vouches for nothing in them

  uint64_t unsynced_bytes_ = 0;
  std::chrono::steady_clock::time_point next_sync_;
  // Of the file being written: from `dropped_` on it is being flushed to the disk, from `started_` on not yet.
  size_t cached_file_ = 0;
  uint64_t dropped_ = 0, started_ = 0;
};

/// Error where an Output would refuse the target because of an interrupted run or one at work: for what takes long and
/// precedes it.
void check_interrupted(const std::string& target, ResumePolicy resume_policy);

/// "<target>.journal".
std::string journal_path(const std::string& target);

/// Every name that an Output may write under: final, partial, journal.
std::vector<std::string> written_paths(const std::string& target, const std::vector<ShardFile>& files);

}  // namespace steelyard::quantize
