// One connection of the server as cpp-httplib's Stream, with the limits that the library does not have: the time and
// the bytes that a request's head and body may take, however slowly they come, and the time of a write. Whoever is
// beyond them is cut off. It also knows whether the client has hung up. Used by HttpServer, on the connection's thread.
#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace steelyard::serve {

struct ConnectionLimits {
  std::chrono::milliseconds head_time{10'000}, body_time{60'000}, write_time{20'000}, idle_time{5'000};
  int64_t head_bytes = 32 << 10;
  int64_t body_bytes = 16 << 20;
};

class Connection final : public httplib::Stream {
 public:
  /// Owns the socket. draining: no further request is waited for.
  Connection(int socket, const ConnectionLimits& limits, const std::atomic<bool>& draining);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  /// Ends the connection so that what was written arrives.
  ~Connection() override;

  /// The connection that this thread serves; null outside of requests.
  static Connection* current();

  /// Whether another request begins within the idle time.
  bool await_request();
  /// No request follows this one: what is left of its body is not to be taken for one.
  void close_after() { must_close_ = true; }
  bool must_close() const { return must_close_; }
  /// The client has closed its side.
  bool hung_up() const;

  // ---- of Stream
  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool fill(Clock::time_point until);
  ssize_t refuse(const char* status);
  void follow_head(char c);

  const int socket_;
  const ConnectionLimits& limits_;
  const std::atomic<bool>& draining_;
  std::array<char, 8192> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what was received and not read
  bool must_close_ = false, broken_ = false;

  // Of the request that is read.
  Clock::time_point head_until_, body_until_;
  int64_t head_bytes_ = 0, body_bytes_ = 0;
  bool in_head_ = true;
  int64_t line_bytes_ = 0;  // of the head's line at work
};

}  // namespace steelyard::serve
