#include "cluster/ranks.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"

namespace steelyard::cluster {

Message broadcast(Ranks& ranks, Message message) {
  if (!ranks.leads()) return ranks.receive(0, Channel::kBroadcast);
  for (int to = 1; to < ranks.size(); ++to) ranks.send(to, Channel::kBroadcast, message);
  return message;
}

namespace {

Message of_number(int64_t number) {
  Message message;
  ByteWriter(message).number<int64_t>(number);
  return message;
}

int64_t number_of(const Message& message) { return load_number<int64_t>(message.data()); }

}  // namespace

int64_t broadcast_number(Ranks& ranks, int64_t number) { return number_of(broadcast(ranks, of_number(number))); }

int64_t least(Ranks& ranks, int64_t number) {
  if (!ranks.leads()) ranks.send(0, Channel::kBroadcast, of_number(number));
  for (int from = 1; ranks.leads() && from < ranks.size(); ++from)
    number = std::min(number, number_of(ranks.receive(from, Channel::kBroadcast)));
  return broadcast_number(ranks, number);
}

void expect_equal(Ranks& ranks, const std::string& what, const std::string& subject) {
  if (broadcast(ranks, what) != what) fail("", "has another {} than rank 0", subject);
}

}  // namespace steelyard::cluster
