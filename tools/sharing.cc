#include "sharing.h"

#include "base/error.h"

namespace steelyard::tools {
namespace {

cluster::Ranks* joined = nullptr;

}  // namespace

void share_with(cluster::Ranks* ranks, std::string_view subcommand) {
  const bool shares = subcommand == "imatrix" || subcommand == "perplexity" || subcommand == "quantize";
  if (cluster::are_several(ranks) && !shares)
    fail("", "{} runs in one process: start it without mpirun", printable(subcommand));
  joined = ranks;
}

cluster::Ranks* sharing() { return joined; }

}  // namespace steelyard::tools
