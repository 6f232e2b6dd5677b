// Man pages in troff, from the description of the command line. What no option says (files, environment, exit status)
// stands in manual.cc. Called by tools/documents.cc.
#pragma once

#include <string>

#include "command_line.h"

namespace steelyard::tools {

/// steelyard(1): what the program is, and its subcommands.
std::string program_page(const CommandDescription& program, const std::string& version);

/// steelyard-<name>(1): one subcommand with all its options.
std::string command_page(const CommandDescription& program, const CommandDescription& command,
                         const std::string& version);

/// `text` as troff prints it unchanged, wherever it stands: its own characters escaped, a hyphen one that can be
/// pasted.
std::string troff(const std::string& text);

}  // namespace steelyard::tools
