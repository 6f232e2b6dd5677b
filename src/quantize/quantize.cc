#include "quantize/quantize.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "gguf/shards.h"
#include "quantize/encode.h"
#include "quantize/hessian_estimate.h"
#include "quantize/lost_rows.h"
#include "quantize/stream.h"

namespace steelyard::quantize {
namespace {

// Tensors of the result: names and places as in the source, types as decided.
std::vector<gguf::TensorInfo> result_tensors(const plan::Resolution& resolution) {
  std::vector<gguf::TensorInfo> tensors;
  for (const plan::Decision& decision : resolution.decisions) {
    tensors.push_back(*decision.tensor);
    tensors.back().type = decision.type;
  }
  return tensors;
}

// What must not change from the beginning of a run to its end, across interruptions. Each is named in messages.
RunIdentity run_identity(const Provenance& provenance, const std::string& source_header, const std::string& states) {
  std::string options = provenance.options;
  for (const std::string& argument : provenance.arguments) options += (options.empty() ? "" : " ") + argument;
  return {{"version", provenance.version},
          {"source", source_header},
          {"source-files", states},
          {"plan", sha256(provenance.plan)},
          {"imatrix", provenance.imatrix_sha256},
          {"calibration", provenance.calibration_sha256},
          {"options", printable(options, options.size() * 4)}};
}

void check_source(const gguf::Source& source, const std::string& states) {
  if (file_states(source) != states) fail(source.path(), "was changed while it was read; --restart begins anew");
}

// What an interrupted run has read must not have changed.
void check_resumed(const QuantizeJob& job, std::span<const TensorHashes> finished) {
  parallel_for(static_cast<int64_t>(finished.size()), 1, [&](int64_t i) {
    const gguf::TensorInfo& tensor = *job.resolution.decisions[static_cast<size_t>(i)].tensor;
    if (tensor_sha256(job.source, tensor) != finished[static_cast<size_t>(i)].source) {
      fail(job.source.path(), "tensor {} has changed since the interrupted run; --restart begins anew",
           printable(tensor.name));
    }
  });
}

// Looks at a tensor that was encoded elsewhere.
void add_lost(const plan::Decision& decision, const gguf::Source& source, std::span<const std::byte> result,
              std::vector<plan::Finding>& found) {
  const gguf::TensorInfo& tensor = *decision.tensor;
  const formats::Format& to = format(decision.type);
  if (tensor.type == decision.type) return;
  LostRows lost(tensor, to);
  const auto n_all = static_cast<size_t>(std::max<int64_t>(1, tensor.n_rows()));
  const size_t row_bytes = result.size() / n_all, source_row_bytes = static_cast<size_t>(tensor.n_bytes) / n_all;
  constexpr int64_t kRows = 64;  // at a time
  parallel_for((tensor.n_rows() + kRows - 1) / kRows, 1, [&](int64_t group) {
    const int64_t begin = group * kRows, n = std::min(kRows, tensor.n_rows() - begin);
    const gguf::Bytes rows = source.read(tensor, static_cast<uint64_t>(begin) * source_row_bytes,
                                         static_cast<uint64_t>(begin + n) * source_row_bytes);
    lost.look(begin, n, rows.data(), result.data() + static_cast<size_t>(begin) * row_bytes);
  });
  lost.add_to(found);
}

// Where a run begins that finds `n_finished` tensors done.
QuantizeProgress state_after(std::span<const plan::Decision> decisions, size_t n_finished) {
  QuantizeProgress progress{.tensor = n_finished, .n_tensors = decisions.size()};
  if (n_finished < decisions.size()) progress.info = decisions[n_finished].tensor;
  for (size_t i = 0; i < decisions.size(); ++i) {
    const auto n = static_cast<uint64_t>(decisions[i].tensor->n_elements());
    progress.total += n;
    if (i < n_finished) progress.resumed += n;
  }
  progress.done = progress.resumed;
  return progress;
}

// The result of a repetition must be equal to the file that it repeats, or it is refused.
void check_expected(const Recorded& expected, const std::string& source, const Output& output,
                    const std::string& path) {
  if (source != expected.source_sha256) {
    fail(path, "the source is not that of the file to repeat: found {}, expected {}", source, expected.source_sha256);
  }
  if (expected.tensors.size() != output.finished().size()) {
    fail(path, "has {} tensors, and the file to repeat has {}", output.finished().size(), expected.tensors.size());
  }
  for (size_t i = 0; i < expected.tensors.size(); ++i) {
    if (output.finished()[i].result == expected.tensors[i]) continue;
    fail(path, "tensor {} comes out otherwise than in the file to repeat", i);
  }
}

// What the file has, and not what was made of it for this model.
int64_t own_entries(const imatrix::Imatrix& imatrix) {
  return std::ranges::count_if(imatrix.entries, [](const auto& entry) { return entry.second.shared_from.empty(); });
}

}  // namespace

gguf::Metadata result_metadata(const QuantizeJob& job, const gguf::Metadata* edited) {
  gguf::Metadata metadata = edited != nullptr ? *edited : job.source.metadata();
  gguf::erase_split_keys(metadata);
  erase_provenance(metadata);
  // The writer and llama.cpp need a power of two. Where the source has something else, the default replaces it.
  if (!std::has_single_bit(gguf::data_alignment(metadata))) metadata.erase(gguf::kAlignmentKey);
  // One number for the whole file cannot describe a plan. Readers that miss it look at the tensors.
  metadata.erase("general.file_type");
  metadata.set_integer("general.quantization_version", 2);  // ggml's block layouts since 2023
  if (job.imatrix != nullptr) {
    metadata.set_string("quantize.imatrix.file", job.imatrix->source);
    metadata.set_string("quantize.imatrix.dataset",
                        job.imatrix->datasets.empty() ? std::string() : job.imatrix->datasets.front());
    metadata.set_integer("quantize.imatrix.entries_count", static_cast<uint32_t>(own_entries(*job.imatrix)));
    metadata.set_integer("quantize.imatrix.chunks_count", static_cast<uint32_t>(job.imatrix->chunk_count));
  }
  return metadata;
}

QuantizeResult quantize(const QuantizeJob& job, const QuantizeTarget& target, const QuantizeCallback& callback) {
  check(job);
  const auto& decisions = job.resolution.decisions;
  const std::string states = file_states(job.source), source_header = header_sha256(job.source);
  gguf::Metadata metadata = result_metadata(job, target.metadata);
  add_provenance(metadata, target.provenance, source_header, decisions.size());
  const auto cut_files = [&] { return cut(target.path, metadata, result_tensors(job.resolution), target.split); };
  const std::vector<ShardFile> files = cut_files();
  for (const std::string& path : written_paths(target.path, files)) check_target(job.source, path);

  Output output(target.path, files, run_identity(target.provenance, source_header, states), target.resume_policy);
  QuantizeProgress progress = state_after(decisions, output.finished().size());
  callback(progress);
  std::vector<plan::Finding> found;
  for (size_t i = 0; i < output.finished().size(); ++i) add_lost(decisions[i], job.source, output.content(i), found);
  check_resumed(job, output.finished());
  LayerEncoder* const layers = job.layers;
  for (size_t i = 0; layers != nullptr && i < output.finished().size(); ++i) {
    layers->finished(decisions[i], output.content(i));
  }

  std::optional<HessianEstimates> inputs;
  if (job.imatrix != nullptr && target.effort == formats::Effort::kBest) {
    inputs.emplace(job.source, job.resolution, *job.imatrix);
  }
  TensorStream stream(job.source, target.slab_bytes, output);
  uint64_t before = progress.resumed;
  for (size_t i = output.finished().size(); i < decisions.size(); ++i) {
    const gguf::TensorInfo& tensor = *decisions[i].tensor;
    RowEncoder encoder(tensor, format(decisions[i].type), job.imatrix, target.effort, job.source.path(),
                       inputs ? inputs->find(tensor) : nullptr, target.device);
    progress.tensor = i;
    progress.info = &tensor;
    const auto on_rows = [&](int64_t rows) {
      progress.done = before + static_cast<uint64_t>(rows * tensor.ne[0]);
      callback(progress);
    };
    on_rows(0);
    try {
      const auto calibrated = layers != nullptr ? layers->encode(decisions[i]) : std::nullopt;
      if (calibrated) {
        stream.finish();
        output.write(0, *calibrated);
        add_lost(decisions[i], job.source, *calibrated, found);
        output.finish_tensor({tensor_sha256(job.source, tensor), sha256(*calibrated)});
        on_rows(tensor.n_rows());
      } else {
        stream.push(tensor, encoder, on_rows);
        encoder.lost().add_to(found);
      }
    } catch (const BadWeight&) {
      output.discard();
      throw;
    }
    before = progress.done;
  }
  stream.finish();

  check_source(job.source, states);
  const std::string source_hash = source_sha256(source_header, output.finished());
  if (target.expected) check_expected(*target.expected, source_hash, output, target.path);
  try {
    refuse(found, job.strict, target.path);
  } catch (const Error&) {
    output.discard();
    throw;
  }
  if (target.verify) output.verify();
  complete_provenance(metadata, source_hash, output.finished());
  const ShardFile first = cut_files().front();
  output.finish(gguf::lay_out(first.path, first.metadata, first.tensors).header);
  progress = {.tensor = decisions.size(),
              .n_tensors = decisions.size(),
              .resumed = progress.resumed,
              .done = job.resolution.n_elements,
              .total = job.resolution.n_elements};
  callback(progress);
  return {output.paths(), output.total_bytes(), std::move(found)};
}

}  // namespace steelyard::quantize
