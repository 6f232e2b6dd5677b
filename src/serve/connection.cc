#include "serve/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace steelyard::serve {
namespace {

using Clock = std::chrono::steady_clock;

thread_local Connection* current_connection = nullptr;

// Waits for `events`; false when they do not come in time.
bool wait_for(int socket, short events, Clock::time_point until) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd one{socket, events, 0};
    const int n = ::poll(&one, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    if (n > 0) return true;
    if (n == 0 && Clock::now() >= until) return false;
    if (n < 0 && errno != EINTR) return false;
  }
}

}  // namespace

Connection::Connection(int socket, const ConnectionLimits& limits, const std::atomic<bool>& draining)
    : socket_(socket), limits_(limits), draining_(draining) {
  current_connection = this;
}

// A socket that is closed with something unread in it takes back what was written last.
Connection::~Connection() {
  constexpr auto kTime = std::chrono::milliseconds(500);
  constexpr int64_t kMost = 1 << 20;
  current_connection = nullptr;
  ::shutdown(socket_, SHUT_WR);
  const Clock::time_point until = Clock::now() + kTime;
  int64_t n = 0;
  while (must_close_ && n < kMost && wait_for(socket_, POLLIN, until)) {
    const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got <= 0) break;
    n += got;
  }
  ::close(socket_);
}

Connection* Connection::current() { return current_connection; }

bool Connection::await_request() {
  if (must_close_ || broken_) return false;
  if (begin_ == end_) {
    const Clock::time_point until = Clock::now() + limits_.idle_time;
    constexpr auto kLook = std::chrono::milliseconds(200);
    while (!wait_for(socket_, POLLIN, std::min(until, Clock::now() + kLook))) {
      if (draining_ || Clock::now() >= until) return false;
    }
    if (draining_ || hung_up()) return false;
  }
  head_until_ = Clock::now() + limits_.head_time;
  head_bytes_ = body_bytes_ = line_bytes_ = 0;
  in_head_ = true;
  return true;
}

bool Connection::hung_up() const {
  char byte = 0;
  const ssize_t got = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool Connection::is_readable() const { return begin_ < end_ || wait_for(socket_, POLLIN, body_until_); }

bool Connection::is_writable() const {
  return !broken_ && wait_for(socket_, POLLOUT, Clock::now() + limits_.write_time) && !hung_up();
}

bool Connection::fill(Clock::time_point until) {
  while (wait_for(socket_, POLLIN, until)) {
    const ssize_t got = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got > 0) {
      begin_ = 0;
      end_ = static_cast<size_t>(got);
      return true;
    }
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) break;
  }
  return false;
}

// Says why, as far as the client still listens, and ends the connection.
ssize_t Connection::refuse(const char* status) {
  if (!broken_) {
    const std::string answer = fmt::format("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status);
    write(answer.data(), answer.size());
  }
  must_close_ = broken_ = true;
  return -1;
}

// The head ends with an empty line.
void Connection::follow_head(char c) {
  if (c == '\n') {
    if (line_bytes_ == 0 && head_bytes_ > 2) {
      in_head_ = false;
      body_until_ = Clock::now() + limits_.body_time;
    }
    line_bytes_ = 0;
  } else if (c != '\r') {
    ++line_bytes_;
  }
}

ssize_t Connection::read(char* to, size_t size) {
  // What is beside a body: sizes of chunks, and fields after the last one.
  constexpr int64_t kBesideBody = 1 << 20;
  if (broken_) return -1;
  if (begin_ == end_ && !fill(in_head_ ? head_until_ : body_until_)) {
    if (Clock::now() >= (in_head_ ? head_until_ : body_until_)) return refuse("408 Request Timeout");
    must_close_ = broken_ = true;
    return -1;
  }
  size_t n = std::min(size, end_ - begin_);
  for (size_t i = 0; i < n; ++i) {
    to[i] = buffer_[begin_ + i];
    if (in_head_) {
      ++head_bytes_;
      follow_head(to[i]);
    } else {
      ++body_bytes_;
    }
  }
  begin_ += n;
  if (head_bytes_ > limits_.head_bytes) return refuse("431 Request Header Fields Too Large");
  if (body_bytes_ > limits_.body_bytes + kBesideBody) return refuse("413 Payload Too Large");
  return static_cast<ssize_t>(n);
}

ssize_t Connection::write(const char* from, size_t size) {
  if (broken_) return -1;
  const Clock::time_point until = Clock::now() + limits_.write_time;
  while (wait_for(socket_, POLLOUT, until)) {
    const ssize_t sent = ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) break;
  }
  must_close_ = broken_ = true;
  return -1;
}

}  // namespace steelyard::serve
