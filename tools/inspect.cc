// steelyard inspect: what is in a GGUF or imatrix file.
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "command.h"
#include "imatrix/statistics.h"

namespace steelyard::tools {
namespace {

struct Options {
  std::string path;
  bool json = false;
};

bool is_gguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::string_view(magic, sizeof(magic)) == "GGUF";
}

// A value for people: scalars and strings as they are, arrays by their length.
nlohmann::ordered_json value_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry) {
  using gguf::ValueType;
  if (entry.type == ValueType::kString) return printable(metadata.string(entry.key), 200);
  if (entry.type == ValueType::kArray) return fmt::format("array of {}", metadata.array_size(entry.key));
  if (entry.type == ValueType::kBool) return metadata.boolean(entry.key, false);
  if (entry.type == ValueType::kFloat32 || entry.type == ValueType::kFloat64) return metadata.real(entry.key);
  if (entry.type == ValueType::kUint64) {  // may exceed int64
    uint64_t value;
    std::memcpy(&value, entry.raw.data(), sizeof(value));
    return value;
  }
  return metadata.integer(entry.key);
}

std::vector<int64_t> shape(const gguf::TensorInfo& tensor) {
  return {tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims};
}

void inspect_gguf(const Options& options) {
  const gguf::Reader reader(options.path, gguf::Need::kHeader);
  int64_t n_elements = 0;
  std::map<std::string, std::pair<int64_t, uint64_t>> types;  // type → elements, bytes
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    n_elements += tensor.n_elements();
    auto& [elements, bytes] = types[std::string(format(tensor.type).name)];
    elements += tensor.n_elements();
    bytes += tensor.n_bytes;
  }
  const double bits = n_elements > 0 ? 8.0 * static_cast<double>(reader.total_bytes()) / static_cast<double>(n_elements) : 0;
  if (options.json) {
    nlohmann::ordered_json report = {{"version", reader.version()},     {"alignment", reader.alignment()},
                                     {"shards", reader.n_shards()},     {"n_elements", n_elements},
                                     {"total_bytes", reader.total_bytes()}, {"bits_per_weight", bits}};
    report["metadata"] = nlohmann::ordered_json::object();
    for (const gguf::KeyValue& entry : reader.metadata().entries()) {
      report["metadata"][printable(entry.key, 1024)] = value_of(reader.metadata(), entry);
    }
    report["tensors"] = nlohmann::ordered_json::array();
    for (const gguf::TensorInfo& tensor : reader.tensors()) {
      report["tensors"].push_back({{"name", printable(tensor.name, 1024)}, {"shape", shape(tensor)},
                                   {"type", format(tensor.type).name}, {"offset", tensor.offset},
                                   {"bytes", tensor.n_bytes}});
    }
    fmt::print("{}\n", report.dump(1));
    return;
  }
  fmt::print("GGUF v{}, {} shard{}, alignment {}\n\n", reader.version(), reader.n_shards(),
             reader.n_shards() == 1 ? "" : "s", reader.alignment());
  for (const gguf::KeyValue& entry : reader.metadata().entries()) {
    fmt::print("{:<48} {:<7} {}\n", printable(entry.key), name(entry.type), value_of(reader.metadata(), entry).dump());
  }
  fmt::print("\n");
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    fmt::print("{:<44} {:<22} {:<8} {:>14}\n", printable(tensor.name), gguf::shape_string(tensor),
               format(tensor.type).name, tensor.n_bytes);
  }
  fmt::print("\n");
  for (const auto& [type, sizes] : types) fmt::print("{:<8} {:>16} elements {:>16} bytes\n", type, sizes.first, sizes.second);
  fmt::print("{} tensors, {} elements, {} bytes, {:.4f} bits per weight\n", reader.tensors().size(), n_elements,
             reader.total_bytes(), bits);
}

void inspect_imatrix(const Options& options) {
  const Imatrix imatrix = Imatrix::load(options.path);
  const std::vector<ImatrixStatistics> rows = statistics(imatrix);
  if (options.json) {
    nlohmann::ordered_json report = {{"datasets", imatrix.datasets},
                                     {"chunk_count", imatrix.chunk_count},
                                     {"chunk_size", imatrix.chunk_size},
                                     {"entries", nlohmann::ordered_json::array()}};
    for (const ImatrixStatistics& row : rows) {
      report["entries"].push_back({{"name", printable(row.name, 1024)}, {"n_in", row.n_in}, {"n_expert", row.n_expert},
                                   {"inputs", row.inputs}, {"experts_unseen", row.experts_unseen},
                                   {"min", row.min}, {"mean", row.mean}, {"max", row.max}});
    }
    fmt::print("{}\n", report.dump(1));
    return;
  }
  fmt::print("importance matrix: {} entries, {} chunks of {} tokens\n", rows.size(), imatrix.chunk_count,
             imatrix.chunk_size);
  for (const std::string& dataset : imatrix.datasets) fmt::print("dataset {}\n", printable(dataset));
  fmt::print("\n{:<40} {:>7} {:>7} {:>10} {:>7} {:>12} {:>12} {:>12}\n", "mean squared input of", "columns", "experts",
             "inputs", "unseen", "min", "mean", "max");
  for (const ImatrixStatistics& row : rows) {
    fmt::print("{:<40} {:>7} {:>7} {:>10} {:>7} {:>12.4g} {:>12.4g} {:>12.4g}\n", printable(row.name), row.n_in,
               row.n_expert, row.inputs, row.experts_unseen, row.min, row.mean, row.max);
  }
}

void inspect(const Options& options) {
  // A GGUF file says what it is; the legacy layout of importance has no mark of its own.
  const bool model = is_gguf(options.path) && gguf::Reader(options.path, gguf::Need::kHeader)
                                                      .metadata().string("general.type", "model") != "imatrix";
  if (model) inspect_gguf(options);
  else inspect_imatrix(options);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto* command = app.add_subcommand("inspect", "what is in a GGUF or imatrix file");
  auto options = std::make_shared<Options>();
  command->add_option("file", options->path, "GGUF model (the first of its shards), or imatrix (GGUF or .dat)")->required();
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { inspect(*options); });
}

}  // namespace steelyard::tools
