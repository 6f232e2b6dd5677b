#include "schedule/layer_relay.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/byte_writer.h"

namespace steelyard::schedule {

void send_batch(cluster::Ranks& ranks, int to, const RelayedBatch& batch) {
  cluster::Message message;
  ByteWriter out(message);
  out.number<uint64_t>(batch.chunks.size());
  out.values(std::span<const int64_t>(batch.chunks));
  out.number<uint64_t>(batch.broken.size());
  for (const auto& [chunk, layer] : batch.broken) {
    out.number<int64_t>(chunk);
    out.number<int32_t>(layer);
  }
  out.values(std::span<const float>(batch.hidden_states));
  ranks.send(to, cluster::Channel::kRelay, std::move(message));
}

RelayedBatch receive_batch(cluster::Ranks& ranks, int from) {
  const cluster::Message message = ranks.receive(from, cluster::Channel::kRelay);
  ByteReader in(std::as_bytes(std::span(message)), "a message");
  RelayedBatch batch;
  batch.chunks = in.values<int64_t>(in.number<uint64_t>());
  for (auto left = in.number<uint64_t>(); left > 0; --left) {
    const auto chunk = in.number<int64_t>();
    batch.broken.emplace_back(chunk, in.number<int32_t>());
  }
  batch.hidden_states = in.values<float>(in.remaining() / sizeof(float));
  return batch;
}

int relayed_layers(const cluster::Ranks& ranks, int first, int n_layers) {
  return std::min(ranks.size(), n_layers - first);
}

Homecoming::Homecoming(cluster::Ranks& ranks, int64_t n_batches, int first_layer, int n_layers,
                       std::function<void(RelayedBatch)> take)
    : ranks_(ranks),
      n_layers_(n_layers),
      first_layer_(first_layer),
      take_(std::move(take)),
      next_layer_(static_cast<size_t>(n_batches), first_layer) {
  thread_ = std::thread([this] { run(); });
}

Homecoming::~Homecoming() {
  {
    const std::lock_guard lock(mutex_);
    if (!is_over_) ranks_.fail("the leader has stopped");
  }
  thread_.join();
}

void Homecoming::run() {
  try {
    for (int first = first_layer_; first < n_layers_;) {
      const int n = relayed_layers(ranks_, first, n_layers_);
      if (n == 1) break;  // the last layer alone: it is the leader's
      first += n;
      for (int& next_layer : next_layer_) {
        take_(receive_batch(ranks_, n - 1));
        const std::lock_guard lock(mutex_);
        next_layer = first;
        changed_.notify_all();
      }
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  is_over_ = true;
  changed_.notify_all();
}

void Homecoming::wait_for(int64_t batch, int layer) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || next_layer_[static_cast<size_t>(batch)] >= layer; });
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace steelyard::schedule
