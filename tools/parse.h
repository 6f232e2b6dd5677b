// A command line parsed as people expect it: llama.cpp's flags are understood, of an option that is given several times
// the last value counts, and a misspelt word is answered with the one that it most likely stands for. Called by main.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace steelyard::tools {

/// Parses `arguments`, the command line without the program's name, and runs the chosen subcommand. Error for words
/// that `app` does not know, before anything else that is wrong; for the rest what CLI::App::parse throws.
void parse(CLI::App& app, std::vector<std::string> arguments);

}  // namespace steelyard::tools
