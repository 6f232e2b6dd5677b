#include "cluster/mailbox.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::cluster {

void Mailbox::put(int from, Channel channel, Message message) {
  const std::lock_guard lock(mutex_);
  queue(channel).push_back({from, std::move(message)});
  changed_.notify_all();
}

void Mailbox::wait_for_room(int from, Channel channel) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failed_ || std::ranges::count(queue(channel), from, &Received::from) < kAhead; });
  expect_alive();
}

Received Mailbox::take_if(Channel channel, const std::function<bool(const Received&)>& wanted) {
  std::unique_lock lock(mutex_);
  std::deque<Received>& messages = queue(channel);
  auto found = messages.end();
  changed_.wait(lock, [&] {
    found = std::ranges::find_if(messages, wanted);
    return failed_ || found != messages.end();
  });
  expect_alive();
  Received received = std::move(*found);
  messages.erase(found);
  changed_.notify_all();
  return received;
}

Message Mailbox::take(int from, Channel channel) {
  return take_if(channel, [&](const Received& received) { return received.from == from; }).message;
}

Received Mailbox::take_any(Channel channel) {
  return take_if(channel, [](const Received&) { return true; });
}

void Mailbox::fail(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (!failed_) why_ = why;
  failed_ = true;
  changed_.notify_all();
}

bool Mailbox::has_failed() {
  const std::lock_guard lock(mutex_);
  return failed_;
}

void Mailbox::expect_alive() const {
  if (failed_) throw Error("", why_);
}

}  // namespace steelyard::cluster
