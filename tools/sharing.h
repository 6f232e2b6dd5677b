// The processes that mpirun has started together with this one. main joins them, and tells the subcommands that can
// share their work (docs/cluster.md).
#pragma once

#include <string_view>

#include "cluster/ranks.h"

namespace steelyard::tools {

/// Called by main, once. Error where `subcommand` runs in one process.
void share_with(cluster::Ranks* ranks, std::string_view subcommand);

/// Null: there are none.
cluster::Ranks* sharing();

}  // namespace steelyard::tools
