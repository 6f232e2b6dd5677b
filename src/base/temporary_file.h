// A name that must not outlive the run that made it: removed when the object ends, and when a signal ends the process
// (signals.h). Only kill -9 and power cuts leave such a file.
#pragma once

#include <memory>
#include <string>

namespace steelyard {

class TemporaryFile {
 public:
  /// No file.
  TemporaryFile() = default;
  /// The file need not exist yet, or ever.
  explicit TemporaryFile(const std::string& path);
  TemporaryFile(TemporaryFile&& other) noexcept = default;
  TemporaryFile& operator=(TemporaryFile&& other) noexcept;
  ~TemporaryFile() { remove(); }

  /// Now, and forgets the name.
  void remove();
  /// Forgets the name: the file has another one, or a later run is to find it.
  void keep();

 private:
  std::unique_ptr<std::string> path_;  // its address is known to the signal handler
};

/// Removes the files of all objects; for signal handlers. The process ends after it.
void remove_temporary_files() noexcept;

/// Removes `path`. Error if it is there and stays. Absence is none.
void remove_file(const std::string& path);

}  // namespace steelyard
