// The subcommands. Each is one file: declare options, call a job, print. add_* registers its options and the callback
// that runs when the subcommand was chosen; the callback throws Error for what is wrong outside.
#pragma once

#include <CLI/CLI.hpp>
#include <stdexcept>

namespace steelyard::tools {

/// The command has done its work, and a figure is beyond what the user allows: exit status 2.
class LimitExceeded : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void add_plan(CLI::App& app);
void add_imatrix(CLI::App& app);
void add_quantize(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_run(CLI::App& app);
void add_chat(CLI::App& app);
void add_serve(CLI::App& app);
void add_write(CLI::App& app);
void add_inspect(CLI::App& app);
void add_bench(CLI::App& app);
void add_fit(CLI::App& app);
void add_tune(CLI::App& app);
void add_search(CLI::App& app);

}  // namespace steelyard::tools
