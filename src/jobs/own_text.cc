#include "jobs/own_text.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/resume_file.h"
#include "gguf/fingerprint.h"

namespace steelyard::jobs {
namespace {

constexpr ResumeKind kKind{"STEELTXT", "writing a text", "model, text"};

// More chunks at a time do not make a step cheaper for each, and their caches take memory.
constexpr int64_t kMostParallel = 64;

void save(const std::string& path, const std::string& identity, const std::vector<generate::WrittenChunk>& chunks) {
  ResumeFileWriter file(path, kKind, identity);
  ByteWriter out(file);
  out.number<uint64_t>(chunks.size());
  for (const generate::WrittenChunk& chunk : chunks) {
    out.number<uint64_t>(chunk.starts.size());
    out.values(std::span<const tokenizer::TokenId>(chunk.ids));
    out.values(std::span<const int64_t>(chunk.starts));
    for (const int64_t count : {chunk.n_ended, chunk.n_looped, chunk.n_dropped}) out.number<int64_t>(count);
  }
  file.finish();
}

// At most n_chunks: those of a longer text are the same.
std::vector<generate::WrittenChunk> load(const std::string& path, const std::string& identity, const WritingRun& run) {
  std::vector<generate::WrittenChunk> chunks;
  std::optional<ResumeFile> file = ResumeFile::open(path, kKind, identity);
  if (!file) return chunks;
  ByteReader& in = file->state();
  const auto n_chunks = in.number<uint64_t>();
  for (uint64_t c = 0; c < std::min(n_chunks, static_cast<uint64_t>(run.n_chunks)); ++c) {
    generate::WrittenChunk chunk;
    const auto n_starts = in.number<uint64_t>();
    chunk.ids = in.values<tokenizer::TokenId>(static_cast<uint64_t>(run.n_ctx));
    chunk.starts = in.values<int64_t>(n_starts);
    chunk.n_ended = in.number<int64_t>();
    chunk.n_looped = in.number<int64_t>();
    chunk.n_dropped = in.number<int64_t>();
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

// Caches get half of what a device has free, or a quarter of the host's memory.
int64_t fitting(const model::Model& model, int64_t n_ctx) {
  uint64_t bytes = 1;
  for (const model::LayerConfig& layer : model.config().layers) {
    bytes += kv_layer_bytes(layer.attention, n_ctx, model.cache_types());
  }
  const uint64_t memory = model.backend().free_memory().value_or(physical_memory() / 2) / 2;
  return static_cast<int64_t>(std::clamp<uint64_t>(memory / bytes, 2, static_cast<uint64_t>(kMostParallel)));
}

generate::Beginnings beginnings(const OpenModel& open, const tokenizer::Tokenizer& tokenizer,
                                const WritingOptions& options) {
  std::vector<tokenizer::TokenId> excerpts;
  if (options.excerpts > 0) {
    if (options.excerpts_of.empty()) fail("", "--excerpts needs --excerpts-of FILE");
    excerpts = tokenizer.encode(read_file(options.excerpts_of), /*add_special=*/false, /*parse_special=*/false);
  }
  return {open.reader().metadata(),
          tokenizer,
          {.documents = std::max(0.0, 1 - options.chats - options.excerpts),
           .chats = options.chats,
           .excerpts = options.excerpts},
          std::move(excerpts)};
}

}  // namespace

void WritingOptions::check() const {
  if (seed < 0) fail("", "--seed must be at least 0");
  if (!(chats >= 0 && excerpts >= 0 && chats + excerpts <= 1)) {
    fail("", "--chats is {} and --excerpts {}, expected shares from 0 to 1 whose sum is at most 1", chats, excerpts);
  }
}

OwnText write_own_text(const OpenModel& open, const tokenizer::Tokenizer& tokenizer, const WritingOptions& options,
                       const WritingRun& run, const ProgressCallback& progress) {
  options.check();
  const model::Model& model = open.model();
  if (run.n_ctx > model.config().n_context) {
    fail("", "texts of {} tokens exceed the model's context of {}", run.n_ctx, model.config().n_context);
  }
  if (run.n_chunks < 1) fail("", "--chunks: expected at least 1, found {}", run.n_chunks);
  OwnText result;
  SavedText& text = result.text;
  text.n_ctx = run.n_ctx;
  text.write = to_json(options);
  const generate::Beginnings begin_with = beginnings(open, tokenizer, options);
  generate::WriterOptions writer{.n_ctx = run.n_ctx,
                                 .at_a_time = run.parallel > 0 ? run.parallel : fitting(model, run.n_ctx)};
  writer.sampling.temperature = options.temp;
  writer.sampling.top_p = options.top_p;
  writer.sampling.seed = static_cast<uint64_t>(options.seed);
  const std::string identity = sha256(
      fmt::format("{}\n{}\n{}\n{}", gguf::fingerprint(open.reader()), open.settings(), text.write.dump(), run.n_ctx));
  const std::string& path = run.resume.resume;
  if (!path.empty()) text.chunks = load(path, identity, run);

  const auto begin = std::chrono::steady_clock::now();
  auto next_save = begin + run.resume.interval();
  const auto n_resumed = std::ssize(text.chunks);
  const auto tell = [&] {
    if (progress) {
      progress({.stage = "write", .done = std::ssize(text.chunks), .total = run.n_chunks, .unit = "chunks"});
    }
  };
  tell();
  if (n_resumed < run.n_chunks) {
    write_chunks(model, tokenizer, begin_with, writer, n_resumed, run.n_chunks,
                 [&](int64_t, generate::WrittenChunk chunk) {
                   text.chunks.push_back(std::move(chunk));
                   tell();
                   const auto now = std::chrono::steady_clock::now();
                   if (path.empty() || now < next_save) return;
                   save(path, identity, text.chunks);
                   next_save = now + run.resume.interval();
                 });
  }
  WritingFigures& figures = result.figures;
  figures.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  figures.resumed_chunks = n_resumed;
  figures.parallel = writer.at_a_time;
  figures.n_chunks = std::ssize(text.chunks);
  figures.n_tokens = (figures.n_chunks - n_resumed) * run.n_ctx;
  for (const generate::WrittenChunk& chunk : text.chunks) {
    figures.n_texts += std::ssize(chunk.starts);
    figures.n_ended += chunk.n_ended;
    figures.n_looped += chunk.n_looped;
    figures.n_dropped += chunk.n_dropped;
  }
  return result;
}

}  // namespace steelyard::jobs
