// The steelyard binary: parses the command line and turns every error from outside into one line and exit status 1,
// a figure beyond --fail-above into exit status 2.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "base/error.h"
#include "base/signals.h"
#include "base/temporary_file.h"
#include "cluster/this_job.h"
#include "command.h"
#include "documents.h"
#include "parse.h"
#include "progress_line.h"
#include "sharing.h"

namespace {

// Others that work on the same job end with it.
std::unique_ptr<steelyard::cluster::Ranks> ranks;

// An exception's message on a single line.
int report(std::string message, int exit_status = 1) {
  steelyard::tools::end_line();
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  message = steelyard::printable(message, message.size() * 4);  // names in it may come from anywhere
  std::fprintf(stderr, "steelyard: %s\n", message.c_str());
  if (ranks != nullptr) {
    std::fflush(stdout);
    steelyard::remove_temporary_files();
    abandon_job(*ranks, message, exit_status);
  }
  return exit_status;
}

// By default a GNU OpenMP thread that waits at a barrier spins for milliseconds. On a machine with other work that
// starves the thread it waits for (measured: ten times slower beside a busy neighbour). The runtime reads its settings
// before main runs. So the program starts itself once more with a short spin, unless the user chose a policy.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (::setenv("GOMP_SPINCOUNT", "1000", 1) == 0) ::execv("/proc/self/exe", argv);
  // If that fails the program continues as it is, only slower.
}

}  // namespace

int main(int argc, char** argv) {
  steelyard::open_standard_streams();
  steelyard::handle_signals();
  limit_spinning(argv);
  CLI::App app(
      "Quantizes GGUF models, with more bits for the tensors that need them: calibrate, plan, quantize, "
      "evaluate, run.",
      "steelyard");
  app.set_version_flag("--version", "steelyard " STEELYARD_VERSION);
  app.require_subcommand(0, 1);  // with exactly one, a word that is none would not be named in the message
  steelyard::tools::add_imatrix(app);
  steelyard::tools::add_plan(app);
  steelyard::tools::add_quantize(app);
  steelyard::tools::add_perplexity(app);
  steelyard::tools::add_run(app);
  steelyard::tools::add_chat(app);
  steelyard::tools::add_serve(app);
  steelyard::tools::add_write(app);
  steelyard::tools::add_inspect(app);
  steelyard::tools::add_bench(app);
  steelyard::tools::add_fit(app);
  steelyard::tools::add_tune(app);
  steelyard::tools::add_search(app);
  steelyard::tools::add_generate_docs(app);
  try {
    ranks = steelyard::cluster::join_job();
    steelyard::tools::share_with(ranks.get(), argc > 1 ? argv[1] : "");
    steelyard::tools::parse(app, {argv + 1, argv + argc});
    if (app.get_subcommands().empty()) return report("a subcommand is required; steelyard --help lists them");
    if (std::fflush(stdout) != 0) return report("cannot write the output");
    ranks.reset();
    return 0;
  } catch (const CLI::Success& help) {  // --help, --version
    const int status = app.exit(help);
    ranks.reset();
    return status;
  } catch (const CLI::ParseError& error) {
    return report(error.what());
  } catch (const steelyard::tools::LimitExceeded& exceeded) {
    return report(exceeded.what(), 2);
  } catch (const std::bad_alloc&) {
    return report("out of memory");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}
