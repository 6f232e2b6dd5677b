// The importance matrix: for every weight tensor the sums of its squared inputs during calibration, and the number of
// inputs. Files are read and written in llama.cpp's two layouts (docs/imatrix.md).
//
// Invariant of what load() returns: at least one entry, every entry is well formed (ImatrixEntry), all sums are finite
// and not negative. Filled by calibration, read by the quantizer and by inspect.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"

namespace steelyard::imatrix {

/// The sums of one weight tensor. A tensor with one matrix per attention head is a single row of n_in * n_head columns.
/// So is a tensor of experts from a .dat file, which does not distinguish experts.
struct ImatrixEntry {
  int64_t n_in = 0;
  int64_t n_expert = 1;         ///< 1 for a dense tensor
  std::vector<double> in_sum2;  ///< [n_expert][n_in] sum of x^2 over all inputs x of a column
  std::vector<int64_t> counts;  ///< [n_expert] inputs seen: tokens, or (token, slot) pairs routed to an expert
  std::string shared_from;      ///< the entry that this is a copy of (matching.h); empty: the tensor's own
};

/// Whether an entry has a number for each column of each of the tensor's matrices.
bool fits(const ImatrixEntry& entry, const gguf::TensorInfo& tensor);

/// Measured: docs/results/prior-weight.md.
inline constexpr double kDefaultPriorWeight = 4;

struct Imatrix {
  std::map<std::string, ImatrixEntry> entries;  ///< by tensor name with its ".weight"; the order of our files
  std::vector<std::string> datasets;            ///< where the calibration text came from
  int64_t chunk_count = 0;                      ///< chunks of text seen
  int64_t chunk_size = 512;                     ///< tokens per chunk
  std::string source = "imatrix";               ///< the file, for messages
  std::vector<std::string> strangers;           ///< entries of no tensor of the model at hand (matching.h)

  /// Pseudo-count of the layer mean in an expert's importance; at least 0. With 0, experts without any input still use
  /// the mean. Not stored in files: it is a setting of importance().
  double prior_weight = kDefaultPriorWeight;

  /// Reads either layout, recognized by content. Error if the file is neither, is damaged, or holds sums that no
  /// calibration can produce (NaN, infinite, negative).
  static Imatrix load(const std::string& path);

  /// Writes the .dat layout to a path that ends in ".dat", GGUF otherwise. The file appears complete or not at all.
  /// Error if there is nothing to write, a sum does not fit F32, or the disk fails.
  void save(const std::string& path) const;

  /// Adds the sums, counts, datasets and chunks of `other`, as if both texts had been seen in one run. Error, with
  /// everything unchanged, if an entry has another shape there.
  void merge(const Imatrix& other);

  /// The entry of `tensor`, null when there is none. Error when its shape does not fit the tensor: the imatrix belongs
  /// to another model.
  const ImatrixEntry* find(const gguf::TensorInfo& tensor) const;

  /// Importance of each column [ne0] of one matrix of `tensor` (slice in [0, ne2 * ne3): an expert or a head): the mean
  /// of x^2. For an expert it is (in_sum2 + prior_weight * m) / (count + prior_weight), where m is the mean of x^2 over
  /// all inputs of the layer's experts. Empty when the tensor has no entry, or one that saw no input. Errors as find().
  std::vector<float> importance(const gguf::TensorInfo& tensor, int64_t slice) const;
  /// The same of every slice. The mean of all experts, which is part of each, is formed once.
  std::vector<std::vector<float>> importance(const gguf::TensorInfo& tensor) const;

 private:
  std::vector<float> row(const ImatrixEntry& entry, int64_t n_in, int64_t slice,
                         const std::vector<double>& prior) const;
  std::vector<double> prior(const ImatrixEntry& entry) const;
};

}  // namespace steelyard::imatrix
