// steelyard inspect: what is in a GGUF or imatrix file, and what differs between two.
#include "jobs/inspect.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "command.h"
#include "options.h"
#include "progress_line.h"
#include "quantize/provenance.h"

namespace steelyard::tools {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Without quotes where it is text.
std::string plain(const jobs::Json& value) {
  return value.is_string() ? printable(value.get<std::string>(), 4096) : jobs::json_text(value);
}

// Lists a line per element, options a line per name.
void print_provenance(const jobs::MetadataRow& row) {
  const std::string key = printable(std::string_view(row.key).substr(quantize::kProvenancePrefix.size()));
  if (!row.value.is_structured()) {
    print_out("  {:<24} {}\n", key, plain(row.value));
    return;
  }
  print_out("  {}\n", key);
  for (const auto& [name, value] : row.value.items()) {
    if (row.value.is_object())
      print_out("    {:<22} {}\n", printable(name), plain(value));
    else
      print_out("    {}\n", plain(value));
  }
}

void print(const jobs::ModelContents& model) {
  const std::string kind = model.version > 0 ? fmt::format("GGUF v{}", model.version) : "Hugging Face";
  const std::string_view files = model.version > 0 ? "shard" : "file";
  print_out("{}, {} {}{}, alignment {}\n\n", kind, model.shards, files, model.shards == 1 ? "" : "s", model.alignment);
  for (const jobs::MetadataRow& row : model.metadata) {
    if (!row.is_provenance) print_out("{:<48} {:<7} {}\n", printable(row.key), row.type, jobs::json_text(row.value));
  }
  if (std::ranges::any_of(model.metadata, &jobs::MetadataRow::is_provenance)) print_out("\nprovenance\n");
  for (const jobs::MetadataRow& row : model.metadata) {
    if (row.is_provenance) print_provenance(row);
  }
  print_out("\n");
  for (const jobs::TensorRow& tensor : model.tensors) {
    print_out("{:<44} {:<22} {:<8} {:>14}\n", printable(tensor.name), shape_text(tensor.shape), tensor.type,
              tensor.bytes);
  }
  print_out("\n");
  for (const auto& [type, n_elements, bytes] : model.types)
    print_out("{:<8} {:>16} elements {:>16} bytes\n", type, n_elements, bytes);
  print_out("{} tensors, {} elements, {} bytes, {:.4f} bits per weight\n", model.tensors.size(), model.n_elements,
            model.total_bytes, model.bits_per_weight);
}

void print(const jobs::ImatrixContents& imatrix) {
  print_out("importance matrix: {} entries, {} chunks of {} tokens\n", imatrix.entries.size(), imatrix.chunk_count,
            imatrix.chunk_size);
  for (const std::string& dataset : imatrix.datasets) print_out("dataset {}\n", printable(dataset));
  print_out("\n{:<36} {:>7} {:>7} {:>10} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7} {:>8} {:>7} {:>8} {:>7}\n",
            "entry", "columns", "experts", "inputs", "unseen", "sum", "min", "mean", "max", "std dev", "active",
            "entropy", "of max", "outlying", "similar");
  for (const imatrix::ImatrixStatistics& row : imatrix.entries) {
    print_out(
        "{:<36} {:>7} {:>7} {:>10} {:>6} {:>10.4g} {:>10.4g} {:>10.4g} {:>10.4g} {:>10.4g} {:>6.1f}% {:>8.4f} "
        "{:>6.1f}% "
        "{:>7.2f}% {:>7.4f}\n",
        printable(row.name), row.n_in, row.n_expert, row.inputs, row.experts_unseen, row.sum, row.min, row.mean,
        row.max, row.deviation, 100 * row.active, row.entropy, 100 * row.relative_entropy(), 100 * row.outlying,
        row.similarity);
  }
  if (!imatrix.blocks.empty()) print_out("\n{:<8} {:>12} {:>8} {:>8}\n", "block", "mean sum", "outlying", "similar");
  for (const imatrix::BlockStatistics& block : imatrix.blocks) {
    print_out("{:<8} {:>12.4g} {:>7.2f}% {:>8.4f}\n", block.block, block.sum, 100 * block.outlying, block.similarity);
  }
}

// One tensor's row after its name and types.
std::string verdict(const jobs::TensorDiff& tensor) {
  if (!tensor.b) return "  only in the first file";
  if (!tensor.a) return "  only in the second file";
  if (tensor.comparison == quantize::Comparison::kShape) {
    return fmt::format("  {} and {}", shape_text(tensor.a->shape), shape_text(tensor.b->shape));
  }
  if (tensor.same_bytes) return "  same bytes";
  if (!tensor.error) return "  different bytes";
  return fmt::format("{:>10.6f} {:>10.4g} {:>10.7f}", tensor.error->relative_rmse, tensor.error->max_abs,
                     tensor.error->cosine);
}

void print(const jobs::ModelDiff& diff) {
  for (const jobs::KeyDiff& difference : diff.metadata) {
    const std::string key = printable(difference.key);
    if (difference.a) print_out("- {:<46} {}\n", key, *difference.a);
    if (difference.b) print_out("+ {:<46} {}\n", key, *difference.b);
  }
  print_out("{} keys of metadata differ\n\n{:<40} {:<8} {:<8} {:>13} {:>13} {:>10} {:>10} {:>10}\n",
            diff.metadata.size(), "tensor", "first", "second", "bytes", "bytes", "rel. error", "max error", "cosine");
  const auto type = [](const std::optional<jobs::TensorSide>& side) { return side ? side->type : "-"; };
  const auto bytes = [](const std::optional<jobs::TensorSide>& side) {
    return side ? fmt::format("{}", side->bytes) : "-";
  };
  for (const jobs::TensorDiff& tensor : diff.tensors) {
    print_out("{:<40} {:<8} {:<8} {:>13} {:>13} {}\n", printable(tensor.name), type(tensor.a), type(tensor.b),
              bytes(tensor.a), bytes(tensor.b), verdict(tensor));
  }
  print_out("\n");
  for (const jobs::FileSize* file : {&diff.a, &diff.b}) {
    print_out("{}: {} tensors, {} bytes, {:.4f} bits per weight\n", file->path, file->tensors, file->total_bytes,
              file->bits_per_weight);
  }
  print_out("all tensors in both files: relative error {:.6f}, largest {:.4g}, cosine {:.7f}", diff.total.relative_rmse,
            diff.total.max_abs, diff.total.cosine);
  if (diff.total.not_finite > 0) print_out("; {} not finite and left out", diff.total.not_finite);
  print_out("; {} of {} tensors have the same bytes\n",
            std::ranges::count(diff.tensors, true, &jobs::TensorDiff::same_bytes), diff.tensors.size());
}

void print(const jobs::Verification& file) {
  print_out("{}: all {} tensors match their checksums\n", file.path, file.tensors);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto* command = app.add_subcommand("inspect",
                                     "show the contents of a GGUF or importance file, or the differences "
                                     "between two GGUF files");
  auto options = std::make_shared<jobs::InspectOptions>();
  auto json = std::make_shared<bool>(false);
  command
      ->add_option("files", options->files,
                   "GGUF model (or the first of its shards), or importance matrix (GGUF or "
                   ".dat)")
      ->required()
      ->expected(1, 2);
  command->add_flag("--diff", options->diff,
                    "compare two GGUF files: metadata, types, sizes, and the error of each "
                    "tensor");
  command->add_flag("--verify", options->verify, "check a file that quantize wrote against its checksums")
      ->excludes("--diff");
  command->add_flag("--json", *json, "print JSON")->excludes("--verify");
  command->add_option("-t,--threads", options->threads, "number of threads for --diff and --verify; default: all cores")
      ->check(CLI::Range(0, jobs::kMaxThreads));
  command->callback([options, json] {
    ProgressLine line;
    const jobs::InspectResult result =
        jobs::inspect(*options, [&](const jobs::Progress& progress) { line.show(progress); });
    if (*json)
      print_out("{}\n", jobs::json_text(jobs::to_json(result), 1));
    else
      std::visit([](const auto& contents) { print(contents); }, result);
  });
}

}  // namespace steelyard::tools
