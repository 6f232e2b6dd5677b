#include "quantize/quantize.h"

#include <bit>
#include <vector>

#include "quantize/encode.h"

namespace steelyard {

gguf::Metadata result_metadata(const QuantizeJob& job) {
  gguf::Metadata metadata = job.source.metadata();
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.erase(key);
  // The writer and llama.cpp want a power of two; where the source had something else, the default takes its place.
  if (!std::has_single_bit(gguf::data_alignment(metadata))) metadata.erase(gguf::kAlignmentKey);
  // One number for the whole file cannot say what a plan did; readers that miss it look at the tensors.
  metadata.erase("general.file_type");
  metadata.set_integer("general.quantization_version", 2);  // ggml's block layouts since 2023
  if (job.imatrix != nullptr) {
    metadata.set_string("quantize.imatrix.file", job.imatrix->source);
    metadata.set_string("quantize.imatrix.dataset",
                        job.imatrix->datasets.empty() ? std::string() : job.imatrix->datasets.front());
    metadata.set_integer("quantize.imatrix.entries_count", static_cast<uint32_t>(job.imatrix->entries.size()));
    metadata.set_integer("quantize.imatrix.chunks_count", static_cast<uint32_t>(job.imatrix->chunk_count));
  }
  return metadata;
}

uint64_t quantize(const QuantizeJob& job, const std::string& target, const QuantizeProgress& progress) {
  check(job);
  check_target(job.source, target);
  const auto& decisions = job.resolution.decisions;
  std::vector<gguf::TensorInfo> tensors;
  for (const Decision& decision : decisions) {
    tensors.push_back(*decision.tensor);
    tensors.back().type = decision.type;
  }
  gguf::Writer writer(target, result_metadata(job), std::move(tensors));
  for (size_t i = 0; i < decisions.size(); ++i) {
    const gguf::TensorInfo& tensor = *decisions[i].tensor;
    const auto source = job.source.bytes(tensor);
    if (tensor.type == decisions[i].type) {
      writer.append(source);
    } else {
      encode_tensor(tensor, source, format(decisions[i].type), job.imatrix, job.source.path(),
                    [&](std::span<const std::byte> bytes) { writer.append(bytes); });
    }
    progress(decisions[i], i, decisions.size());
  }
  writer.finish();
  return writer.file_bytes();
}

}  // namespace steelyard
