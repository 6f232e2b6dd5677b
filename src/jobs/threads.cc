#include "jobs/threads.h"

#include "base/error.h"
#include "base/parallel.h"

namespace steelyard::jobs {

int use_threads(int threads) {
  if (threads < 0 || threads > kMaxThreads) {
    fail("", "--threads: expected a number from 0 to {}, found {}", kMaxThreads, threads);
  }
  return set_thread_count(threads);
}

}  // namespace steelyard::jobs
