// How many bytes a search may use: those of a file, so many bits per weight, or what devices have room for
// (device_budget.h). It knows what a plan needs, and chooses the types that use it up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "jobs/device_options.h"
#include "jobs/search_choice.h"

namespace steelyard::jobs {

class SearchBudget {
 public:
  SearchBudget() = default;
  virtual ~SearchBudget() = default;
  SearchBudget(const SearchBudget&) = delete;
  SearchBudget& operator=(const SearchBudget&) = delete;

  /// Bytes of tensor data that may be used, as far as it is known.
  virtual uint64_t bytes() const = 0;
  /// How many bytes less the tensors would have to need; 0: they fit. Types of all tensors.
  virtual uint64_t missing(const search::Types& types) const = 0;
  /// A file of these types was made: what it has besides their data, and how much of that is its plan.
  virtual void learn(const search::Types& /*types*/, uint64_t /*file_bytes*/, uint64_t /*plan_bytes*/) {}
  /// The types with the least divergence that fit, and their plan. Error with the bytes that are missing.
  virtual Choice choose(const ChoiceProblem& problem) const = 0;
};

/// Bytes of a whole file, at most.
std::unique_ptr<SearchBudget> size_budget(const gguf::Source& source, uint64_t size);
/// Bits per weight of tensor data, at most.
std::unique_ptr<SearchBudget> bits_budget(const gguf::Source& source, double bpw);
/// What `devices` have room for beside caches and buffers for a context. Error as DeviceOptions.
std::unique_ptr<SearchBudget> device_budget(const gguf::Source& source, const DeviceOptions& devices,
                                            int64_t n_context);

}  // namespace steelyard::jobs
