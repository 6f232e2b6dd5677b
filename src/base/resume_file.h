// The file that keeps the state of an interrupted run: 8 bytes that say what kind of run, the run's identity, the
// state, and a SHA-256 of all that. It is replaced as a whole (AtomicFile), so there is always a complete one. Only the
// program that wrote it is meant to read it: the state is numbers as they are in memory.
//
// Nothing of the state is read before the checksum was compared, and none of another run. Used by
// calibrate/collect_state and evaluate/progress. (The journal of a quantization is another thing: a log that is
// appended to after each tensor.)
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/mapped_file.h"
#include "base/sha256.h"

namespace steelyard {

struct ResumeKind {
  std::string_view magic;   ///< 8 bytes
  std::string_view task;    ///< "an evaluation", for messages
  std::string_view inputs;  ///< what the identity is made from: "model, text"
};

/// A sink for ByteWriter. The file takes its place with finish(); without it the one that was there stays.
class ResumeFileWriter {
 public:
  /// identity: kSha256Digits characters that say which run it is of.
  ResumeFileWriter(const std::string& path, const ResumeKind& kind, std::string_view identity);

  void append(std::string_view bytes);
  void finish();

 private:
  AtomicFile file_;
  Sha256 hash_;
};

class ResumeFile {
 public:
  /// Nothing when there is no such file. Error when it is of another kind, damaged or of another run.
  static std::optional<ResumeFile> open(const std::string& path, const ResumeKind& kind, std::string_view identity);

  /// The state. What does not fit is reported as damage.
  ByteReader& state() { return state_; }

 private:
  ResumeFile(MappedFile file, const ResumeKind& kind);

  MappedFile file_;
  ByteReader state_;
};

}  // namespace steelyard
