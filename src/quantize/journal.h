// What an interrupted run has finished, on disk: "<target>.journal" (docs/quantize.md has its layout).
//
// Invariant: a record is in the journal only when the data that it vouches for is on the disk. Every line carries a
// checksum that continues the one before, so everything after a torn or damaged line is ignored. The open journal is
// locked: two runs cannot write the same target. Used by quantize/output only.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log_file.h"

namespace steelyard::quantize {

/// SHA-256 of a finished tensor's bytes, in the source and in the result.
struct TensorHashes {
  std::string source;
  std::string result;

  bool operator==(const TensorHashes&) const = default;
};

/// What makes two runs the same: names ("plan") and values, each on one line.
using RunIdentity = std::vector<std::pair<std::string, std::string>>;

/// The valid part of a journal.
struct JournalContent {
  RunIdentity identity;               ///< empty: not even that could be read
  std::vector<TensorHashes> tensors;  ///< in file order, from the first on
  bool complete = false;              ///< all tensors and the final header are written; only renaming may be missing
  size_t n_bytes = 0;                 ///< length of the believable part
  std::string checksum;               ///< of its last line
  bool damaged = false;  ///< more lines follow a line that is not believed: not the work of an interruption
};

/// Never fails: a file that is not a journal reads as an empty one.
JournalContent parse_journal(std::string_view text);

class Journal {
 public:
  /// Opens or creates `path` and locks it. Error naming `target` if that is impossible or another run holds it, and
  /// naming `path` if it is a file of something else: it is not overwritten, whatever the user asked for.
  Journal(std::string path, std::string target);
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  const std::string& path() const { return log_.path(); }
  /// Whether an earlier run made the journal: then the partial files beside it are that run's.
  bool was_there() const { return !log_.was_created(); }
  const JournalContent& content() const { return content_; }

  /// Starts over: afterwards the journal has only the identity of the run.
  void begin(const RunIdentity& identity);
  /// Continues after the valid part.
  void resume();
  /// Durable on return.
  void append(std::span<const TensorHashes> tensors);
  void append_complete();
  /// The work is done and needs no journal any more.
  void remove() { log_.remove(); }

 private:
  LogFile log_;  // worthless while nothing of another run is in it, and it vouches for nothing
  JournalContent content_;
};

}  // namespace steelyard::quantize
