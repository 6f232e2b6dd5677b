// Completions for the shells, from the description of the command line: subcommands, flags, values of fixed sets, files
// where files are wanted, nothing where a number is. None of the scripts runs the program. Called by
// tools/documents.cc.
#pragma once

#include <string>

#include "command_line.h"

namespace steelyard::tools {

std::string bash_completion(const CommandDescription& program);
std::string zsh_completion(const CommandDescription& program);
std::string fish_completion(const CommandDescription& program);

}  // namespace steelyard::tools
