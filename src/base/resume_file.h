// The file that keeps the state of an interrupted run: 8 bytes that say what kind of run, the run's identity, the
// state, and a SHA-256 of all that. It is replaced as a whole (AtomicFile), so there is always a complete one. Only the
// program that wrote it is meant to read it: the state is numbers as they are in memory.
//
// Nothing of the state is read before the checksum was compared, and none of another run. The file is locked while a
// run uses it, also before its first state is there: it is then empty. Whoever has the result in safety removes the
// file. Used by calibrate/collect_state, evaluate/progress, tune/tuner_state, jobs/own_text and jobs/search_state. (The
// journal of a quantization is another thing: a log that is appended to after each tensor.)
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

/// A state that was read.
class ResumeState {
 public:
  /// Error when the file is of another kind.
  ResumeState(MappedFile file, const ResumeKind& kind);

  bool is_damaged() const { return damaged_; }

  const std::string& identity() const { return identity_; }
  /// What does not fit is reported as damage.
  ByteReader& content() { return content_; }

 private:
  MappedFile file_;
  std::string identity_;
  ByteReader content_;
  bool damaged_ = false;
};

class ResumeFile {
 public:
  /// A sink for ByteWriter.
  class Writer {
   public:
    Writer(const std::string& path, const ResumeKind& kind, std::string_view identity);
    void append(std::string_view bytes);
    OutputFile finish();

   private:
    AtomicFile file_;
    Sha256 hash_;
  };

  /// Keeps nothing.
  ResumeFile() = default;
  /// Opens `path`, or creates an empty file, and locks it; an empty path keeps nothing. identity: kSha256Digits
  /// characters that say which run it is of. Error if that is impossible, or another run uses it.
  ResumeFile(const std::string& path, const ResumeKind& kind, std::string identity);
  ResumeFile(ResumeFile&& other) noexcept;
  ResumeFile& operator=(ResumeFile&& other) noexcept;
  /// A file that no state was saved in is removed.
  ~ResumeFile();

  bool is_kept() const { return fd_ >= 0; }
  /// Whether an earlier run made the file: then what lies beside it under this program's names is that run's.
  bool was_there() const { return was_there_; }
  const std::string& path() const { return path_; }

  /// What becomes of a state that is damaged or of another run of this kind. One of another kind is always an Error: it
  /// may be anything of the user's.
  enum class Unusable { kRefuse, kReplace };
  /// The last state; nothing when none was saved.
  std::optional<ResumeState> load(Unusable unusable = Unusable::kRefuse) const;

  /// Replaces the state by what `write(Writer&)` appends. Durable on return. Nothing happens where nothing is kept.
  template <class Write>
  void save(Write&& write) {
    if (!is_kept()) return;
    Writer writer(path_, *kind_, identity_);
    write(writer);
    take_place_of_old(writer.finish());
  }

  /// The result is safe: nobody needs the state any more.
  void remove();

 private:
  void take_place_of_old(OutputFile file);

  std::string path_;
  const ResumeKind* kind_ = nullptr;
  std::string identity_;
  int fd_ = -1;  // holds the lock of the file that has the name now
  bool was_there_ = false;
  TemporaryFile unsaved_;  // until there is a state
};

}  // namespace steelyard
