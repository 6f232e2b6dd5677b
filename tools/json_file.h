// --json FILE: what a job has found, as JSON, for programs that read it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "jobs/json.h"
#include "jobs/outputs.h"

namespace steelyard::tools {

class JsonFile {
 public:
  /// The option, of a subcommand that does not outlive this.
  void add(CLI::App& command) { command.add_option("--json", path_, "write the results to this JSON file"); }
  /// Before the work: error where the file cannot be written, or is another one of the command line.
  void check(const std::vector<std::string>& inputs, const std::vector<std::string>& other_outputs = {}) const {
    if (!path_.empty()) jobs::check_output(path_, inputs, other_outputs);
  }
  /// Does nothing where no file is wanted.
  template <class Result>
  void write(const Result& result) const {
    if (!path_.empty()) write_file(path_, jobs::json_text(jobs::to_json(result), 1) + "\n");
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace steelyard::tools
