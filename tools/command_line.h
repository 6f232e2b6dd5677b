// The program's command line as data: what man pages and completions say of it, read from the parser's own definitions.
// An option that is declared for the parser is in both without further ado. What has an empty group is hidden.
//
// Written by tools/manual.cc and tools/completions.cc, both of which tools/documents.cc calls.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace steelyard::tools {

/// What may stand in the place of a value.
struct ValueDescription {
  enum class Kind {
    kNone,    ///< no value: a flag
    kFree,    ///< a number, or a text that nobody can guess
    kFile,    ///< the name of a file or folder
    kWords,   ///< one of `words`
    kListed,  ///< some of `words`, between commas
  };
  Kind kind = Kind::kNone;
  std::string name;                ///< "FILE", "INT", ...; for kWords "fast|normal|best" where they are few
  std::vector<std::string> words;  ///< of kWords and kListed
};

struct OptionDescription {
  std::vector<std::string> flags;  ///< "-m", "--model"; none: only a positional argument
  std::string positional;          ///< its name as an argument without flag; empty: needs a flag
  std::string text;                ///< what it is for, as --help has it
  std::string group;               ///< its heading
  std::string default_value;       ///< empty: there is none, or none to show
  ValueDescription value;
  std::vector<std::string> excludes;  ///< options that it cannot stand beside
  bool required = false;
  bool repeats = false;  ///< takes several values
};

struct CommandDescription {
  std::vector<std::string> names;  ///< its name, then aliases
  std::string text;
  std::vector<OptionDescription> options;        ///< in order of declaration
  std::vector<CommandDescription> sub_commands;  ///< in order of declaration

  const std::string& name() const { return names.front(); }
  /// Arguments without flag, in order.
  std::vector<OptionDescription> positionals() const;
};

/// All of `app` that --help shows. Names of presets come from the folder of plans.
CommandDescription describe(const CLI::App& app);

/// What an option does, its default value and what it excludes included: one paragraph without its last full stop.
std::string sentence(const OptionDescription& option);

}  // namespace steelyard::tools
