#include "jobs/mixed_text.h"

#include "base/atomic_file.h"
#include "jobs/calibration_text.h"
#include "jobs/source.h"
#include "model/architecture.h"

namespace steelyard::jobs {

MixedText::MixedText(const TextOptions& text, const ConversationFiles& conversations, double share,
                     const std::string& model, const std::string& path)
    : file_(text.file) {
  if (!conversations.given()) return;
  const auto opened = open_source(model, gguf::ReadMode::kHeader);
  const gguf::Source& reader = *opened;
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  CalibrationText mixed({.source = {.file = text.file},
                         .n_ctx = text.ctx_size,
                         .n_chunks = text.chunks,
                         .whole_file = true,
                         .conversations = conversations,
                         .conversations_share = share,
                         .model = {.model = model}});
  mixed.read(tokenizer, model::read_config(reader), {});
  const tokenizer::Chunks& chunks = mixed.chunks();
  SavedText saved{.n_ctx = chunks.n_ctx(), .write = Json::object(), .chunks = {}};
  for (int64_t c = 0; c < chunks.count(); ++c) {
    saved.chunks.push_back({.ids = chunks.input(c), .starts = {chunks.starts(c).begin(), chunks.starts(c).end()}});
  }
  made_.emplace(path);
  write_file(path, print(saved, chunks.count(), tokenizer));
  file_ = path;
}

}  // namespace steelyard::jobs
