// cpp-httplib's server with connections that have limits (connection.h), as many threads as there are connections at a
// time, up to a number, and an end that lets running answers finish. Used by Server.
#pragma once

#include <httplib.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "serve/connection.h"

namespace steelyard::serve {

/// A thread for each connection. Beyond `most`, the next connection waits where the system queues it.
class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  void enqueue(std::function<void()> task) override;
  /// Waits for those that run.
  void shutdown() override;

 private:
  void work();

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  size_t n_idle_ = 0;
  bool ends_ = false;
};

class HttpServer final : public httplib::Server {
 public:
  explicit HttpServer(const ConnectionLimits& limits, size_t most_connections);

  /// Takes no more connections and no more requests; listen_after_bind() returns when what runs has ended.
  void drain();
  bool draining() const { return draining_; }

 private:
  bool process_and_close_socket(socket_t socket) override;

  const ConnectionLimits limits_;
  std::atomic<bool> draining_ = false;
};

}  // namespace steelyard::serve
