#include "serve/http_server.h"

#include <sys/socket.h>

namespace steelyard::serve {

void ConnectionThreads::enqueue(std::function<void()> task) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return tasks_.size() < n_idle_ || threads_.size() < most_ || ends_; });
  tasks_.push_back(std::move(task));
  if (tasks_.size() > n_idle_ && threads_.size() < most_) threads_.emplace_back([this] { work(); });
  changed_.notify_all();
}

void ConnectionThreads::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++n_idle_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !tasks_.empty() || ends_; });
    --n_idle_;
    if (tasks_.empty()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

void ConnectionThreads::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

HttpServer::HttpServer(const ConnectionLimits& limits, size_t most_connections) : limits_(limits) {
  new_task_queue = [most_connections] { return new ConnectionThreads(most_connections); };
  set_tcp_nodelay(true);
  // The library would let a second server have the port, too, and the system share out the connections.
  set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
}

// Server::stop() would cut off streams. Without its socket the library leaves its loop by itself.
void HttpServer::drain() {
  draining_ = true;
  ::shutdown(svr_sock_, SHUT_RDWR);
}

bool HttpServer::process_and_close_socket(socket_t socket) {
  constexpr int kMostRequests = 10'000;
  try {
    Connection connection(socket, limits_, draining_);
    for (int n = 1; connection.await_request(); ++n) {
      bool closed = false;
      if (!process_request(connection, n == kMostRequests, closed, nullptr) || closed) connection.close_after();
    }
  } catch (const std::exception&) {
    return false;  // without memory for its buffers; the others go on
  }
  return true;
}

}  // namespace steelyard::serve
