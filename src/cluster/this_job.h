// The ranks that this process was started among. Called by main only.
#pragma once

#include <memory>
#include <string>

#include "cluster/ranks.h"

namespace steelyard::cluster {

/// Joins the job that mpirun has started this process for; null: it runs alone. What other ranks than the leader print
/// from now on is not shown. When the system ends the processes because one of them has died, one line says so. Error
/// where the process was started with others, and the program was built without MPI.
///
/// Its end waits for that of the leader: destroy it when all is done, before the process ends.
std::unique_ptr<Ranks> join_job();

/// Ends this process, and the job, after a failure. The leader has reported it; another rank leaves that to the leader.
[[noreturn]] void abandon_job(Ranks& ranks, const std::string& why, int exit_status);

}  // namespace steelyard::cluster
