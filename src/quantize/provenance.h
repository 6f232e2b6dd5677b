// Where a result comes from, in its own metadata: enough to make it again (keys: docs/quantize.md).
//
// Two hashes are known only after the last tensor is written. Until then, zeros of the same length take their places,
// so that the header has its final length from the start.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "quantize/journal.h"

namespace steelyard::quantize {

/// The request of a run. The library records it, and does not act on it.
struct Provenance {
  std::string version;         ///< of the program
  std::string plan;            ///< Plan::text()
  std::string source_file;     ///< its name, without folder
  std::string imatrix_sha256;  ///< of the file; empty: none was given
  std::string options;         ///< that shape the result and stand in no plan: JSON, R"({"effort":"best"})"
  /// What version 0.1.0 recorded in their place: flags as on the command line, "--effort=best". Not empty only where
  /// such a file is made again.
  std::vector<std::string> arguments = {};
  std::string calibration_sha256 = {};  ///< of the text; empty: none was given
  std::string calibration_text = {};    ///< "self", "self+default.txt" where the model has written it, with a
                                        ///< file of conversations where there is one; else empty
};

/// Every key that add_provenance() sets begins with this.
inline constexpr std::string_view kProvenancePrefix = "steelyard.";

/// Drops the provenance of an earlier result, because it does not describe this one.
void erase_provenance(gguf::Metadata& metadata);

/// Sets all keys; hashes that are not yet known are zeros. `source_header`: header_sha256() of the source.
void add_provenance(gguf::Metadata& metadata, const Provenance& provenance, const std::string& source_header,
                    size_t n_tensors);

/// Puts the hashes of all tensors into their places.
void complete_provenance(gguf::Metadata& metadata, const std::string& source_sha256,
                         std::span<const TensorHashes> tensors);

/// How free numbers of a quantized file were tuned afterwards (tune/).
struct Tuning {
  std::string options;  ///< JSON
  std::string text;     ///< name; empty: that of the base
  std::string text_sha256;
  std::string teacher;        ///< file, without folder
  std::string source_file;    ///< that was tuned, without folder
  std::string source_header;  ///< header_sha256() of it
  int64_t steps = 0;          ///< after which the result was taken
};

/// Records it, beside what is recorded of the quantization. hashes: of the tensors that were changed, in file order,
/// others empty; they replace those of the quantization where there are any.
void add_tuning(gguf::Metadata& metadata, const Tuning& tuning, std::span<const std::string> hashes);
/// Whether a file was.
bool is_tuned(const gguf::Metadata& metadata);

/// What a result says about how it was made.
struct Recorded {
  Provenance provenance;
  std::string source_header;
  std::string source_sha256;
  std::vector<std::string> tensors;  ///< SHA-256 of each tensor's bytes, in file order
};

/// Error if `file` was not made by quantize, or the keys are damaged.
Recorded read_provenance(const gguf::Source& file);

/// SHA-256 of a tensor's bytes, which are read piece by piece and released.
std::string tensor_sha256(const gguf::Source& source, const gguf::TensorInfo& tensor);

/// SHA-256 over the headers of all files of the source, one after the other.
std::string header_sha256(const gguf::Source& source);

/// SHA-256 of the source: over lines of text, first header_sha256(), then for every tensor that was read the SHA-256 of
/// its bytes, in the order of the result.
std::string source_sha256(const std::string& header, std::span<const TensorHashes> tensors);

/// Size and time of last change of every file of the source: "28508160:1763769339.123456789 ...".
std::string file_states(const gguf::Source& source);

}  // namespace steelyard::quantize
