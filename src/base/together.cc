#include "base/together.h"

#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/parallel.h"

namespace steelyard {

void run_together(size_t n, int threads_of_each, const std::function<void(size_t i)>& body) {
  std::mutex failing;
  std::exception_ptr failure;
  const auto guarded = [&](size_t i) {
    try {
      body(i);
    } catch (...) {
      const std::lock_guard lock(failing);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < n; ++i) {
      threads.emplace_back([&guarded, i, threads_of_each] {
        set_thread_count(threads_of_each);  // new threads do not inherit it
        guarded(i);
      });
    }
    const int before = set_thread_count(0);
    set_thread_count(threads_of_each);
    if (n > 0) guarded(0);
    set_thread_count(before);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace steelyard
