// What every request has to pass before its body is read: there is such a path, the client has the key, no web page of
// somebody else sent it, and its body is one that the server reads. Throws Refusal. Called by Server.
#pragma once

#include <httplib.h>

#include <cstdint>
#include <map>
#include <string>

namespace steelyard::serve {

class Gate {
 public:
  /// api_key: empty: none is asked for.
  Gate(std::string api_key, int64_t body_bytes) : api_key_(std::move(api_key)), body_bytes_(body_bytes) {}

  /// open: without the key, too.
  void add(const std::string& method, const std::string& path, bool open = false) { paths_[path] = {method, open}; }
  bool knows(const std::string& path) const { return paths_.contains(path); }
  void check(const httplib::Request& request) const;

 private:
  struct Path {
    std::string method;
    bool open = false;
  };

  std::string api_key_;
  int64_t body_bytes_;
  std::map<std::string, Path> paths_;
};

}  // namespace steelyard::serve
