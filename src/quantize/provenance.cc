#include "quantize/provenance.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"

namespace steelyard::quantize {
namespace {

constexpr std::string_view kVersion = "steelyard.version";
constexpr std::string_view kPlan = "steelyard.plan";
constexpr std::string_view kPlanHash = "steelyard.plan.sha256";
constexpr std::string_view kOptions = "steelyard.options";
constexpr std::string_view kArguments = "steelyard.arguments";  // version 0.1.0
constexpr std::string_view kImatrixHash = "steelyard.imatrix.sha256";
constexpr std::string_view kCalibrationHash = "steelyard.calibration.sha256";
constexpr std::string_view kCalibrationText = "steelyard.calibration.text";
constexpr std::string_view kSourceFile = "steelyard.source.file";
constexpr std::string_view kSourceHeader = "steelyard.source.header.sha256";
constexpr std::string_view kSourceHash = "steelyard.source.sha256";
constexpr std::string_view kTensorHashes = "steelyard.tensor.sha256";

constexpr std::string_view kTuneOptions = "steelyard.tune.options";
constexpr std::string_view kTuneText = "steelyard.tune.text";
constexpr std::string_view kTuneTextHash = "steelyard.tune.text.sha256";
constexpr std::string_view kTuneTeacher = "steelyard.tune.teacher";
constexpr std::string_view kTuneSourceFile = "steelyard.tune.source.file";
constexpr std::string_view kTuneSourceHeader = "steelyard.tune.source.header.sha256";
constexpr std::string_view kTuneSteps = "steelyard.tune.steps";

std::string unknown_hash() { return std::string(kSha256Digits, '0'); }

}  // namespace

void erase_provenance(gguf::Metadata& metadata) { metadata.erase_all(kProvenancePrefix); }

void add_provenance(gguf::Metadata& metadata, const Provenance& provenance, const std::string& source_header,
                    size_t n_tensors) {
  metadata.set_string(kVersion, provenance.version);
  metadata.set_string(kPlan, provenance.plan);
  metadata.set_string(kPlanHash, sha256(provenance.plan));
  if (provenance.arguments.empty())
    metadata.set_string(kOptions, provenance.options);
  else
    metadata.set_strings(kArguments, provenance.arguments);
  if (!provenance.imatrix_sha256.empty()) metadata.set_string(kImatrixHash, provenance.imatrix_sha256);
  if (!provenance.calibration_sha256.empty()) metadata.set_string(kCalibrationHash, provenance.calibration_sha256);
  if (!provenance.calibration_text.empty()) metadata.set_string(kCalibrationText, provenance.calibration_text);
  metadata.set_string(kSourceFile, provenance.source_file);
  metadata.set_string(kSourceHeader, source_header);
  metadata.set_string(kSourceHash, unknown_hash());
  metadata.set_strings(kTensorHashes, std::vector<std::string>(n_tensors, unknown_hash()));
}

void complete_provenance(gguf::Metadata& metadata, const std::string& source_sha256,
                         std::span<const TensorHashes> tensors) {
  metadata.set_string(kSourceHash, source_sha256);
  std::vector<std::string> hashes;
  for (const TensorHashes& tensor : tensors) hashes.push_back(tensor.result);
  metadata.set_strings(kTensorHashes, hashes);
}

void add_tuning(gguf::Metadata& metadata, const Tuning& tuning, std::span<const std::string> hashes) {
  metadata.set_string(kTuneOptions, tuning.options);
  metadata.set_string(kTuneText, tuning.text);
  metadata.set_string(kTuneTextHash, tuning.text_sha256);
  metadata.set_string(kTuneTeacher, tuning.teacher);
  metadata.set_string(kTuneSourceFile, tuning.source_file);
  metadata.set_string(kTuneSourceHeader, tuning.source_header);
  metadata.set_integer(kTuneSteps, static_cast<uint32_t>(tuning.steps));
  if (!metadata.contains(kTensorHashes)) return;
  std::vector<std::string> all;
  for (const std::string_view hash : metadata.strings(kTensorHashes)) all.emplace_back(hash);
  for (size_t i = 0; i < std::min(all.size(), hashes.size()); ++i) {
    if (!hashes[i].empty()) all[i] = hashes[i];
  }
  metadata.set_strings(kTensorHashes, all);
}

bool is_tuned(const gguf::Metadata& metadata) { return metadata.contains(kTuneOptions); }

Recorded read_provenance(const gguf::Source& file) {
  const gguf::Metadata& metadata = file.metadata();
  if (!metadata.contains(kTensorHashes)) fail(file.path(), "has no checksums: steelyard quantize did not write it");
  Recorded recorded;
  recorded.provenance.version = metadata.string(kVersion);
  recorded.provenance.plan = metadata.string(kPlan);
  recorded.provenance.source_file = metadata.string(kSourceFile);
  recorded.provenance.imatrix_sha256 = metadata.string(kImatrixHash, "");
  recorded.provenance.calibration_sha256 = metadata.string(kCalibrationHash, "");
  recorded.provenance.calibration_text = metadata.string(kCalibrationText, "");
  if (metadata.contains(kOptions)) {
    recorded.provenance.options = metadata.string(kOptions);
  } else {
    for (const std::string_view word : metadata.strings(kArguments)) recorded.provenance.arguments.emplace_back(word);
  }
  recorded.source_header = metadata.string(kSourceHeader);
  recorded.source_sha256 = metadata.string(kSourceHash);
  for (const std::string_view hash : metadata.strings(kTensorHashes)) recorded.tensors.emplace_back(hash);
  if (recorded.tensors.size() != file.tensors().size()) {
    fail(file.path(), "key '{}': found {} checksums, expected {}, one for each tensor", kTensorHashes,
         recorded.tensors.size(), file.tensors().size());
  }
  if (sha256(recorded.provenance.plan) != metadata.string(kPlanHash)) {
    fail(file.path(), "key '{}' is not the hash of the plan: the metadata is damaged", kPlanHash);
  }
  return recorded;
}

std::string tensor_sha256(const gguf::Source& source, const gguf::TensorInfo& tensor) {
  constexpr uint64_t kPiece = uint64_t{16} << 20;
  Sha256 hash;
  for (uint64_t begin = 0; begin < tensor.n_bytes; begin += kPiece) {
    const uint64_t end = std::min(tensor.n_bytes, begin + kPiece);
    hash.update(source.read(tensor, begin, end));
    source.release(tensor, begin, end);
  }
  return hash.hex();
}

std::string header_sha256(const gguf::Source& source) {
  Sha256 hash;
  for (int shard = 0; shard < source.n_shards(); ++shard) hash.update(source.header(shard));
  return hash.hex();
}

std::string source_sha256(const std::string& header, std::span<const TensorHashes> tensors) {
  Sha256 hash;
  hash.update(header + "\n");
  for (const TensorHashes& tensor : tensors) hash.update(tensor.source + "\n");
  return hash.hex();
}

std::string file_states(const gguf::Source& source) {
  std::string states;
  for (int shard = 0; shard < source.n_shards(); ++shard) {
    struct stat status {};
    if (::stat(source.shard_path(shard).c_str(), &status) != 0) {
      fail(source.shard_path(shard), "cannot be looked at: {}", std::strerror(errno));
    }
    states += fmt::format("{}{}:{}.{:09}", shard > 0 ? " " : "", status.st_size, status.st_mtim.tv_sec,
                          status.st_mtim.tv_nsec);
  }
  return states;
}

}  // namespace steelyard::quantize
