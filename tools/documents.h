// The hidden subcommand generate-docs: man pages and completions, written when the program is built, for its
// installation.
#pragma once

#include <CLI/CLI.hpp>

namespace steelyard::tools {

/// Adds it. It describes what `app` holds when it runs.
void add_generate_docs(CLI::App& app);

}  // namespace steelyard::tools
