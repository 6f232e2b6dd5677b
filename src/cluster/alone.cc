// A program without MPI runs alone, and says so where it was started with others that would do the same once more.
#include <cstdlib>

#include "base/error.h"
#include "cluster/this_job.h"

namespace steelyard::cluster {

std::unique_ptr<Ranks> join_job() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    const char* const size = std::getenv(name);
    if (size != nullptr && std::atoi(size) > 1) {
      fail("", "was started as one of {} processes, and built without MPI: make PRESET=mpi builds it with",
           printable(size));
    }
  }
  return nullptr;
}

void abandon_job(Ranks& /*ranks*/, const std::string& /*why*/, int exit_status) { std::exit(exit_status); }

}  // namespace steelyard::cluster
