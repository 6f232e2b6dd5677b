// steelyard inspect: what is in a GGUF or imatrix file, and what differs between two.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/parallel.h"
#include "command.h"
#include "imatrix/statistics.h"
#include "quantize/compare.h"
#include "quantize/provenance.h"
#include "quantize/verify.h"

namespace steelyard::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> paths;
  int threads = 0;
  bool diff = false;
  bool verify = false;
  bool json = false;
};

bool is_gguf(const std::string& path) {
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::string_view(magic, sizeof(magic)) == "GGUF";
}

// A value for people: scalars and strings as they are, arrays by their length.
Json value_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry) {
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

bool is_provenance(const gguf::KeyValue& entry) { return entry.key.starts_with(kProvenancePrefix); }

// Provenance of the file: texts line by line, lists of words completely, and only the number of checksums.
Json provenance_of(const gguf::Metadata& metadata, const gguf::KeyValue& entry) {
  constexpr size_t kMostBytes = 4096;
  if (entry.type == gguf::ValueType::kString) {
    Json lines = Json::array();
    for (std::string_view rest = metadata.string(entry.key); !rest.empty();) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      lines.push_back(printable(rest.substr(0, end), kMostBytes));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return lines.size() == 1 ? lines[0] : lines;
  }
  if (entry.type != gguf::ValueType::kArray || !entry.key.ends_with(".arguments")) return value_of(metadata, entry);
  Json words = Json::array();
  for (const std::string_view word : metadata.strings(entry.key)) words.push_back(printable(word, kMostBytes));
  return words;
}

void print_provenance(const gguf::Metadata& metadata) {
  if (std::ranges::none_of(metadata.entries(), is_provenance)) return;
  fmt::print("\nhow it was made\n");
  for (const gguf::KeyValue& entry : metadata.entries()) {
    if (!is_provenance(entry)) continue;
    const Json value = provenance_of(metadata, entry);
    const std::string name = printable(std::string_view(entry.key).substr(kProvenancePrefix.size()));
    if (!value.is_array()) {
      fmt::print("  {:<24} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
      continue;
    }
    fmt::print("  {}\n", name);
    for (const Json& line : value) fmt::print("    {}\n", line.get<std::string>());
  }
}

std::vector<int64_t> shape(const gguf::TensorInfo& tensor) {
  return {tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims};
}

double bits_per_weight(const gguf::Reader& reader) {
  double n_elements = 0;
  for (const gguf::TensorInfo& tensor : reader.tensors()) n_elements += static_cast<double>(tensor.n_elements());
  return n_elements > 0 ? 8.0 * static_cast<double>(reader.total_bytes()) / n_elements : 0;
}

void inspect_gguf(const Options& options) {
  const gguf::Reader reader(options.paths[0], gguf::Need::kHeader);
  int64_t n_elements = 0;
  std::map<std::string, std::pair<int64_t, uint64_t>> types;  // type → elements, bytes
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    n_elements += tensor.n_elements();
    auto& [elements, bytes] = types[std::string(format(tensor.type).name)];
    elements += tensor.n_elements();
    bytes += tensor.n_bytes;
  }
  const double bits = bits_per_weight(reader);
  if (options.json) {
    Json report = {{"version", reader.version()}, {"alignment", reader.alignment()},     {"shards", reader.n_shards()},
                   {"n_elements", n_elements},    {"total_bytes", reader.total_bytes()}, {"bits_per_weight", bits}};
    report["metadata"] = Json::object();
    for (const gguf::KeyValue& entry : reader.metadata().entries()) {
      report["metadata"][printable(entry.key, 1024)] =
          is_provenance(entry) ? provenance_of(reader.metadata(), entry) : value_of(reader.metadata(), entry);
    }
    report["tensors"] = Json::array();
    for (const gguf::TensorInfo& tensor : reader.tensors()) {
      report["tensors"].push_back({{"name", printable(tensor.name, 1024)},
                                   {"shape", shape(tensor)},
                                   {"type", format(tensor.type).name},
                                   {"offset", tensor.offset},
                                   {"bytes", tensor.n_bytes}});
    }
    fmt::print("{}\n", report.dump(1));
    return;
  }
  fmt::print("GGUF v{}, {} shard{}, alignment {}\n\n", reader.version(), reader.n_shards(),
             reader.n_shards() == 1 ? "" : "s", reader.alignment());
  for (const gguf::KeyValue& entry : reader.metadata().entries()) {
    if (is_provenance(entry)) continue;
    fmt::print("{:<48} {:<7} {}\n", printable(entry.key), name(entry.type), value_of(reader.metadata(), entry).dump());
  }
  print_provenance(reader.metadata());
  fmt::print("\n");
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    fmt::print("{:<44} {:<22} {:<8} {:>14}\n", printable(tensor.name), gguf::shape_string(tensor),
               format(tensor.type).name, tensor.n_bytes);
  }
  fmt::print("\n");
  for (const auto& [type, sizes] : types)
    fmt::print("{:<8} {:>16} elements {:>16} bytes\n", type, sizes.first, sizes.second);
  fmt::print("{} tensors, {} elements, {} bytes, {:.4f} bits per weight\n", reader.tensors().size(), n_elements,
             reader.total_bytes(), bits);
}

void inspect_imatrix(const Options& options) {
  const Imatrix imatrix = Imatrix::load(options.paths[0]);
  const std::vector<ImatrixStatistics> rows = statistics(imatrix);
  const std::vector<BlockStatistics> blocks = block_statistics(rows);
  if (options.json) {
    Json report = {{"datasets", imatrix.datasets},
                   {"chunk_count", imatrix.chunk_count},
                   {"chunk_size", imatrix.chunk_size},
                   {"entries", Json::array()}};
    for (const ImatrixStatistics& row : rows) {
      report["entries"].push_back({{"name", printable(row.name, 1024)},
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
                                   {"similarity", row.similarity}});
    }
    report["blocks"] = Json::array();
    for (const BlockStatistics& block : blocks) {
      report["blocks"].push_back(
          {{"block", block.block}, {"sum", block.sum}, {"outlying", block.outlying}, {"similarity", block.similarity}});
    }
    fmt::print("{}\n", report.dump(1));
    return;
  }
  fmt::print("importance matrix: {} entries, {} chunks of {} tokens\n", rows.size(), imatrix.chunk_count,
             imatrix.chunk_size);
  for (const std::string& dataset : imatrix.datasets) fmt::print("dataset {}\n", printable(dataset));
  fmt::print("\n{:<36} {:>7} {:>7} {:>10} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7} {:>8} {:>7} {:>7} {:>7}\n",
             "mean squared input of", "columns", "experts", "inputs", "unseen", "sum", "min", "mean", "max",
             "deviation", "active", "entropy", "of max", "outlie", "similar");
  for (const ImatrixStatistics& row : rows) {
    fmt::print(
        "{:<36} {:>7} {:>7} {:>10} {:>6} {:>10.4g} {:>10.4g} {:>10.4g} {:>10.4g} {:>10.4g} {:>6.1f}% {:>8.4f} "
        "{:>6.1f}% "
        "{:>6.2f}% {:>7.4f}\n",
        printable(row.name), row.n_in, row.n_expert, row.inputs, row.experts_unseen, row.sum, row.min, row.mean,
        row.max, row.deviation, 100 * row.active, row.entropy, 100 * row.relative_entropy(), 100 * row.outlying,
        row.similarity);
  }
  if (!blocks.empty()) fmt::print("\n{:<8} {:>12} {:>8} {:>8}\n", "block", "mean sum", "outlie", "similar");
  for (const BlockStatistics& block : blocks) {
    fmt::print("{:<8} {:>12.4g} {:>7.2f}% {:>8.4f}\n", block.block, block.sum, 100 * block.outlying, block.similarity);
  }
}

// The elements of an array as text.
std::vector<std::string> elements(const gguf::Metadata& metadata, const std::string& key) {
  std::vector<std::string> texts;
  uint32_t type;
  std::memcpy(&type, metadata.find(key)->raw.data(), sizeof(type));
  if (static_cast<gguf::ValueType>(type) == gguf::ValueType::kString) {
    for (const std::string_view text : metadata.strings(key)) texts.push_back(Json(printable(text, 40)).dump());
  } else {
    for (const double number : metadata.reals(key)) texts.push_back(fmt::format("{}", number));
  }
  return texts;
}

// A value beside the one that it differs from, if that exists. For arrays, the elements from the first difference on.
std::string value_beside(const gguf::Metadata& metadata, const gguf::KeyValue& entry, const gguf::Metadata& other) {
  constexpr size_t kShown = 6;
  const gguf::KeyValue* beside = other.find(entry.key);
  if (entry.type != gguf::ValueType::kArray || beside == nullptr || beside->type != gguf::ValueType::kArray) {
    return fmt::format("{} {}", name(entry.type), value_of(metadata, entry).dump());
  }
  const std::vector<std::string> ours = elements(metadata, entry.key), theirs = elements(other, entry.key);
  const auto begin = std::ranges::mismatch(ours, theirs).in1;
  const auto end = begin + std::min<ptrdiff_t>(kShown, ours.end() - begin);
  return fmt::format("array of {}, from {} on: {}{}", ours.size(), begin - ours.begin(), fmt::join(begin, end, ", "),
                     end == ours.end() ? "" : ", ...");
}

// The row of one tensor after its name and types, if there is no error to print.
std::string verdict(const TensorDifference& tensor) {
  switch (tensor.comparison) {
    case Comparison::kOnlyA:
      return "only in the first file";
    case Comparison::kOnlyB:
      return "only in the second file";
    case Comparison::kShape:
      return fmt::format("{} and {}", gguf::shape_string(*tensor.a), gguf::shape_string(*tensor.b));
    case Comparison::kBytes:
      return tensor.same_bytes ? "same bytes" : "other bytes";
    case Comparison::kWeights:
      return tensor.same_bytes ? "same bytes" : "";
  }
  return "";
}

Json side(const gguf::Reader& reader) {
  return {{"path", reader.path()},
          {"tensors", reader.tensors().size()},
          {"total_bytes", reader.total_bytes()},
          {"bits_per_weight", bits_per_weight(reader)}};
}

Json errors(const ErrorSums& error) {
  return {{"relative_rmse", error.relative_rmse()},
          {"max_abs", error.max_abs},
          {"cosine", error.cosine()},
          {"not_finite", error.not_finite}};
}

Json diff_report(const gguf::Reader& a, const gguf::Reader& b, const std::vector<MetadataDifference>& metadata,
                 const std::vector<TensorDifference>& tensors, const ErrorSums& total) {
  Json report = {{"a", side(a)},
                 {"b", side(b)},
                 {"metadata", Json::array()},
                 {"tensors", Json::array()},
                 {"total", errors(total)}};
  for (const MetadataDifference& difference : metadata) {
    Json row = {{"key", printable(difference.key(), 1024)}};
    if (difference.a != nullptr) row["a"] = value_beside(a.metadata(), *difference.a, b.metadata());
    if (difference.b != nullptr) row["b"] = value_beside(b.metadata(), *difference.b, a.metadata());
    report["metadata"].push_back(std::move(row));
  }
  for (const TensorDifference& tensor : tensors) {
    Json row = {{"name", printable(tensor.name(), 1024)}};
    for (const auto& [key, info] : {std::pair("a", tensor.a), std::pair("b", tensor.b)}) {
      if (info != nullptr)
        row[key] = {{"type", format(info->type).name}, {"shape", shape(*info)}, {"bytes", info->n_bytes}};
    }
    row["same_bytes"] = tensor.same_bytes;
    if (tensor.comparison == Comparison::kWeights) row.update(errors(tensor.error));
    report["tensors"].push_back(std::move(row));
  }
  return report;
}

void print_tensor(const TensorDifference& tensor) {
  const auto type = [](const gguf::TensorInfo* info) { return info == nullptr ? "-" : format(info->type).name; };
  const auto bytes = [](const gguf::TensorInfo* info) {
    return info == nullptr ? "-" : fmt::format("{}", info->n_bytes);
  };
  fmt::print("{:<40} {:<8} {:<8} {:>13} {:>13} ", printable(tensor.name()), type(tensor.a), type(tensor.b),
             bytes(tensor.a), bytes(tensor.b));
  if (const std::string words = verdict(tensor); !words.empty())
    fmt::print("  {}\n", words);
  else
    fmt::print("{:>10.6f} {:>10.4g} {:>10.7f}\n", tensor.error.relative_rmse(), tensor.error.max_abs,
               tensor.error.cosine());
}

// Counts tensors on a terminal.
void show_progress(size_t done, size_t count) {
  if (interactive()) fmt::print(stderr, "\r\x1b[K[{}/{}]{}", done, count, done == count ? "\r\x1b[K" : "");
}

void diff(const Options& options) {
  const gguf::Reader a(options.paths[0]), b(options.paths[1]);
  const std::vector<MetadataDifference> metadata = compare(a.metadata(), b.metadata());
  const std::vector<TensorDifference> tensors = compare(a, b, show_progress);
  ErrorSums total;
  for (const TensorDifference& tensor : tensors) total.add(tensor.error);
  if (options.json) {
    fmt::print("{}\n", diff_report(a, b, metadata, tensors, total).dump(1));
    return;
  }
  for (const MetadataDifference& difference : metadata) {
    const std::string key = printable(difference.key());
    if (difference.a != nullptr)
      fmt::print("- {:<46} {}\n", key, value_beside(a.metadata(), *difference.a, b.metadata()));
    if (difference.b != nullptr)
      fmt::print("+ {:<46} {}\n", key, value_beside(b.metadata(), *difference.b, a.metadata()));
  }
  fmt::print("{} keys of metadata differ\n\n{:<40} {:<8} {:<8} {:>13} {:>13} {:>10} {:>10} {:>10}\n", metadata.size(),
             "tensor", "first", "second", "bytes", "bytes", "rel. error", "max error", "cosine");
  for (const TensorDifference& tensor : tensors) print_tensor(tensor);
  fmt::print("\n");
  for (const gguf::Reader* reader : {&a, &b}) {
    fmt::print("{}: {} tensors, {} bytes, {:.4f} bits per weight\n", reader->path(), reader->tensors().size(),
               reader->total_bytes(), bits_per_weight(*reader));
  }
  fmt::print("all weights in both: relative error {:.6f}, largest {:.4g}, cosine {:.7f}", total.relative_rmse(),
             total.max_abs, total.cosine());
  if (total.not_finite > 0) fmt::print("; {} not finite and left out", total.not_finite);
  fmt::print("; {} of {} tensors have the same bytes\n",
             std::ranges::count(tensors, true, &TensorDifference::same_bytes), tensors.size());
}

void verify_file(const Options& options) {
  const gguf::Reader file(options.paths[0]);
  verify(file, show_progress);
  fmt::print("{}: all {} tensors have the bytes that their checksums stand for\n", file.path(), file.tensors().size());
}

void inspect(const Options& options) {
  if (options.paths.size() != (options.diff ? 2 : 1)) {
    if (options.diff) fail("", "--diff needs two files");
    fail("", "one file is inspected at a time; --diff compares two");
  }
  set_thread_count(options.threads);
  if (options.diff) return diff(options);
  if (options.verify) return verify_file(options);
  // A GGUF file says what it is. The legacy layout of importance has no mark.
  const std::string& path = options.paths[0];
  const bool model =
      is_gguf(path) && gguf::Reader(path, gguf::Need::kHeader).metadata().string("general.type", "model") != "imatrix";
  if (model)
    inspect_gguf(options);
  else
    inspect_imatrix(options);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto* command = app.add_subcommand("inspect", "what is in a GGUF or imatrix file, or differs between two GGUF files");
  auto options = std::make_shared<Options>();
  command->add_option("files", options->paths, "GGUF model (the first of its shards), or imatrix (GGUF or .dat)")
      ->required()
      ->expected(1, 2);
  command->add_flag("--diff", options->diff, "compare two GGUF files: metadata, types, sizes, error of each tensor");
  command->add_flag("--verify", options->verify, "check the bytes of a file that quantize wrote against its checksums")
      ->excludes("--diff");
  command->add_flag("--json", options->json, "print JSON")->excludes("--verify");
  command->add_option("-t,--threads", options->threads, "threads of --diff and --verify; all cores by default")
      ->check(CLI::Range(0, kMaxThreads));
  command->callback([options] { inspect(*options); });
}

}  // namespace steelyard::tools
