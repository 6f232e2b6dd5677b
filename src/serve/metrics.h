// What the server has done, in the text format of Prometheus (version 0.0.4). Called by Server, from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "serve/engine.h"

namespace steelyard::serve {

class Metrics {
 public:
  /// A response to a request for `path`, one of the server's own, or "other".
  void count(const std::string& path, int status);
  std::string text(const EngineFigures& engine, int64_t n_slots) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> responses_;
};

}  // namespace steelyard::serve
