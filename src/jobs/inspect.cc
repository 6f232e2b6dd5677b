#include "jobs/inspect.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/text_hash.h"
#include "gguf/reader.h"
#include "imatrix/imatrix.h"
#include "jobs/metadata_view.h"
#include "jobs/source.h"
#include "jobs/threads.h"

namespace steelyard::jobs {
namespace {

constexpr size_t kMostBytes = 1024;  // of a name

// A GGUF file says what it is. The legacy layout of importance has no mark.
bool is_model(const std::string& path) {
  constexpr std::string_view kMagic = "GGUF";
  if (std::filesystem::is_directory(path)) return true;
  const MappedFile file(path);  // refuses what is no file, such as a pipe, which would be waited for
  return file.bytes().size() >= kMagic.size() && std::memcmp(file.bytes().data(), kMagic.data(), kMagic.size()) == 0 &&
         gguf::Reader(path, gguf::ReadMode::kHeader).metadata().string("general.type", "model") != "imatrix";
}

Json to_json(const imatrix::ImatrixStatistics& row) {
  return {{"name", printable(row.name, kMostBytes)},
          {"n_in", row.n_in},
          {"n_expert", row.n_expert},
          {"inputs", row.inputs},
          {"experts_unseen", row.experts_unseen},
          {"min", row.min},
          {"mean", row.mean},
          {"max", row.max},
          {"sum", row.sum},
          {"deviation", row.deviation},
          {"active", row.active},
          {"n", row.n},
          {"entropy", row.entropy},
          {"relative_entropy", row.relative_entropy()},
          {"outlying", row.outlying},
          {"similarity", row.similarity}};
}

}  // namespace

template <>
Json to_json(const ModelContents& of) {
  Json json = {{"version", of.version},         {"alignment", of.alignment},
               {"shards", of.shards},           {"n_elements", of.n_elements},
               {"total_bytes", of.total_bytes}, {"bits_per_weight", of.bits_per_weight},
               {"metadata", Json::object()},    {"tensors", JsonWriter::of(of.tensors)}};
  // A name is not looked for in the object, which would compare it with all before. Only names cut short repeat.
  auto& metadata = json["metadata"].get_ref<Json::object_t&>();
  std::unordered_set<std::string_view, TextHash> names;
  for (const MetadataRow& row : of.metadata) {
    if (names.insert(row.key).second) metadata.push_back({row.key, row.value});
  }
  return json;
}

template <>
Json to_json(const ImatrixContents& of) {
  Json json = {{"datasets", of.datasets},
               {"chunk_count", of.chunk_count},
               {"chunk_size", of.chunk_size},
               {"entries", Json::array()},
               {"blocks", Json::array()}};
  for (const imatrix::ImatrixStatistics& row : of.entries) json["entries"].push_back(to_json(row));
  for (const imatrix::BlockStatistics& block : of.blocks) {
    json["blocks"].push_back(
        {{"block", block.block}, {"sum", block.sum}, {"outlying", block.outlying}, {"similarity", block.similarity}});
  }
  return json;
}

template <>
Json to_json(const InspectResult& of) {
  return std::visit([](const auto& result) { return jobs::to_json(result); }, of);
}

ModelContents inspect_model(const std::string& path) {
  const auto opened = open_source(path, gguf::ReadMode::kHeader);
  const gguf::Source& reader = *opened;
  ModelContents result;
  result.version = reader.version();
  result.alignment = reader.alignment();
  result.shards = static_cast<int64_t>(reader.n_shards());
  result.total_bytes = reader.total_bytes();
  result.bits_per_weight = bits_per_weight(reader);
  const gguf::Metadata& metadata = reader.metadata();
  for (const gguf::KeyValue& entry : metadata.entries()) {
    result.metadata.push_back({printable(entry.key, kMostBytes), std::string(name(entry.type)), is_provenance(entry),
                               is_provenance(entry) ? provenance_of(metadata, entry) : value_of(metadata, entry)});
  }
  std::map<std::string, TypeSum> types;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const std::string type(format(tensor.type).name);
    result.tensors.push_back({printable(tensor.name, kMostBytes),
                              {tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims},
                              type,
                              tensor.offset,
                              tensor.n_bytes});
    result.n_elements += tensor.n_elements();
    types[type].n_elements += tensor.n_elements();
    types[type].bytes += tensor.n_bytes;
  }
  for (const auto& [type, sum] : types) result.types.push_back({type, sum.n_elements, sum.bytes});
  return result;
}

ImatrixContents inspect_imatrix(const std::string& path) {
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(path);
  ImatrixContents result;
  for (const std::string& dataset : imatrix.datasets) result.datasets.push_back(printable(dataset, 4096));
  result.chunk_count = imatrix.chunk_count;
  result.chunk_size = imatrix.chunk_size;
  result.entries = statistics(imatrix);
  result.blocks = block_statistics(result.entries);
  return result;
}

InspectResult inspect(const InspectOptions& options, const ProgressCallback& progress) {
  if (options.files.size() != (options.diff ? 2 : 1)) {
    if (options.diff) fail("", "--diff needs two files");
    fail("", "expected one file; --diff compares two");
  }
  if (options.diff && options.verify) fail("", "give one of --diff and --verify");
  use_threads(options.threads);
  const std::string& path = options.files[0];
  if (options.diff) return diff_models(path, options.files[1], progress);
  if (options.verify) return verify_model(path, progress);
  if (is_model(path)) return inspect_model(path);
  return inspect_imatrix(path);
}

}  // namespace steelyard::jobs
