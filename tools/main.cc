// The steelyard binary: parses the command line and turns every foreign fault into one line and exit status 1.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "command.h"

namespace {

// An exception's message on a single line.
int report(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::fprintf(stderr, "steelyard: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Weighs a model's tensors unequally: calibrate, plan, quantize, evaluate and run GGUF models.", "steelyard");
  app.set_version_flag("--version", "steelyard " STEELYARD_VERSION);
  app.require_subcommand(1);
  steelyard::tools::add_imatrix(app);
  steelyard::tools::add_plan(app);
  steelyard::tools::add_quantize(app);
  steelyard::tools::add_perplexity(app);
  steelyard::tools::add_run(app);
  steelyard::tools::add_inspect(app);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) return report("cannot write the output");
    return 0;
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report(error.what());
  } catch (const std::bad_alloc&) {
    return report("out of memory");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}
