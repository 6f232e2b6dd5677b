// Hidden states on their way from rank to rank, where the layers of a model are dealt out: rank r computes the r-th of
// as many layers as there are ranks, then of the next as many. Batches come back to the leader, which keeps the window.
// So each weight is read by one rank, and the order of sums within a layer is that of one process. Used by LayerSweep.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "cluster/ranks.h"

namespace steelyard::schedule {

/// What is known of a batch between two layers.
struct RelayedBatch {
  std::vector<int64_t> chunks;                  ///< that are not broken
  std::vector<std::pair<int64_t, int>> broken;  ///< in these layers, each with where that happened
  std::vector<float> hidden_states;             ///< of the chunks, one after the other
};
void send_batch(cluster::Ranks& ranks, int to, const RelayedBatch& batch);
RelayedBatch receive_batch(cluster::Ranks& ranks, int from);

/// Layers that pass from rank to rank together, from `first` on.
int relayed_layers(const cluster::Ranks& ranks, int first, int n_layers);

/// The leader's thread that takes in what comes back.
class Homecoming {
 public:
  /// Of n_batches batches, in each group of layers from first_layer on. `take` is called from a thread of its own.
  Homecoming(cluster::Ranks& ranks, int64_t n_batches, int first_layer, int n_layers,
             std::function<void(RelayedBatch)> take);
  /// One that has not seen the end makes the job fail: other ranks would wait for the leader.
  ~Homecoming();

  /// Waits until the batch has passed all layers before `layer`.
  void wait_for(int64_t batch, int layer);

 private:
  void run();

  cluster::Ranks& ranks_;
  int n_layers_, first_layer_;
  std::function<void(RelayedBatch)> take_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> next_layer_;  // of each batch
  std::exception_ptr failure_;
  bool is_over_ = false;
  std::thread thread_;
};

}  // namespace steelyard::schedule
