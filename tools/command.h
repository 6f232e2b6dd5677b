// How the subcommands register with the parser.
//
// A subcommand is one file: declare options, call the job, print. Each add_* registers its options and the callback
// that runs when the subcommand was chosen; the callback throws Error for foreign faults.
#pragma once

#include <CLI/CLI.hpp>

namespace steelyard::tools {

void add_plan(CLI::App& app);
void add_imatrix(CLI::App& app);
void add_quantize(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_run(CLI::App& app);
void add_inspect(CLI::App& app);
void add_bench(CLI::App& app);
void add_fit(CLI::App& app);

}  // namespace steelyard::tools
