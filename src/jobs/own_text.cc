#include "jobs/own_text.h"

#include <algorithm>
#include <chrono>

#include "base/atomic_file.h"
#include "base/byte_writer.h"
#include "base/data_folder.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text_file.h"
#include "gguf/fingerprint.h"
#include "jobs/given_options.h"
#include "jobs/seeds.h"

namespace steelyard::jobs {
namespace {

constexpr ResumeKind kKind{"STEELTXT", "writing a text", "model, text"};

// More chunks at a time do not make a step cheaper for each, and their caches take memory.
constexpr int64_t kMostParallel = 64;

void save(ResumeFile& file, const std::vector<generate::WrittenChunk>& chunks) {
  file.save([&](ResumeFile::Writer& writer) {
    ByteWriter out(writer);
    out.number<uint64_t>(chunks.size());
    for (const generate::WrittenChunk& chunk : chunks) {
      out.number<uint64_t>(chunk.starts.size());
      out.values(std::span<const tokenizer::TokenId>(chunk.ids));
      out.values(std::span<const int64_t>(chunk.starts));
      for (const int64_t count : {chunk.n_ended, chunk.n_looped, chunk.n_dropped}) out.number<int64_t>(count);
    }
  });
}

// Caches get half of what a device has free, or of what may be used of the host's memory.
int64_t fitting(const model::Model& model, int64_t n_ctx, uint64_t memory) {
  uint64_t bytes = 1;
  for (const model::LayerConfig& layer : model.config().layers) {
    bytes += kv_layer_bytes(layer.attention, n_ctx, model.cache_types());
  }
  memory = usable_memory(memory);
  const uint64_t usable = model.backend().free_memory().value_or(memory) / 2;
  return static_cast<int64_t>(std::clamp<uint64_t>(usable / bytes, 2, static_cast<uint64_t>(kMostParallel)));
}

std::string read_excerpts(const WritingOptions& options) {
  options.check();
  if (options.excerpts == 0) return "";
  return read_text_file(options.excerpts_of.empty() ? data_folder("calibration") + "/default.txt"
                                                    : options.excerpts_of);
}

generate::Beginnings beginnings(const OpenModel& open, const tokenizer::Tokenizer& tokenizer,
                                const WritingOptions& options, const std::string& excerpts) {
  return {open.reader().metadata(),
          tokenizer,
          {.documents = std::max(0.0, 1 - options.chats - options.excerpts),
           .chats = options.chats,
           .excerpts = options.excerpts},
          tokenizer.encode(excerpts, /*add_special=*/false, /*parse_special=*/false)};
}

}  // namespace

ResumeFile open_written_chunks(const std::string& path, const std::string& identity) { return {path, kKind, identity}; }

std::vector<generate::WrittenChunk> load_written_chunks(const ResumeFile& file, ResumeFile::Unusable unusable,
                                                        int64_t n_ctx) {
  std::vector<generate::WrittenChunk> chunks;
  std::optional<ResumeState> state = file.load(unusable);
  if (!state) return chunks;
  ByteReader& in = state->content();
  const auto n_chunks = in.number<uint64_t>();
  for (uint64_t c = 0; c < n_chunks; ++c) {
    generate::WrittenChunk chunk;
    const auto n_starts = in.number<uint64_t>();
    chunk.ids = in.values<tokenizer::TokenId>(static_cast<uint64_t>(n_ctx));
    chunk.starts = in.values<int64_t>(n_starts);
    chunk.n_ended = in.number<int64_t>();
    chunk.n_looped = in.number<int64_t>();
    chunk.n_dropped = in.number<int64_t>();
    chunks.push_back(std::move(chunk));
  }
  in.expect_end();
  return chunks;
}

WritingOptions WritingOptions::chosen(bool goes_on) const {
  if (excerpts == 0) refuse_given(*this, {"excerpts_of"}, "without --excerpts");
  WritingOptions options = *this;
  options.seed = chosen_seed(seed, "--seed", goes_on);
  return options;
}

void WritingOptions::check() const {
  if (seed < 0) fail("", "--seed must be at least 0, or -1 for another one each time");
  if (!(chats >= 0 && excerpts >= 0 && chats + excerpts <= 1)) {
    fail("", "--chats is {} and --excerpts {}, expected shares from 0 to 1 whose sum is at most 1", chats, excerpts);
  }
}

OwnText::OwnText(const OpenModel& model, const tokenizer::Tokenizer& tokenizer, const WritingOptions& options,
                 int64_t n_ctx, Run run)
    : model_(model),
      tokenizer_(tokenizer),
      excerpts_(read_excerpts(options)),
      beginnings_(beginnings(model, tokenizer, options, excerpts_)),
      options_{.n_ctx = n_ctx},
      run_(std::move(run)) {
  const int64_t most = model.model().config().n_context;
  if (n_ctx < 4 || n_ctx > most) fail("", "-c {}: a text has 4 to {} tokens, the model's context", n_ctx, most);
  options_.at_a_time = run_.parallel > 0 ? run_.parallel : fitting(model.model(), n_ctx, run_.memory);
  options_.sampling.temperature = options.temp;
  options_.sampling.top_p = options.top_p;
  options_.sampling.seed = static_cast<uint64_t>(options.seed);
  generate::check(options_.sampling);
  text_.n_ctx = n_ctx;
  text_.write = to_json(options);
  text_.write["excerpts_sha256"] = sha256(excerpts_);
  const std::string identity = sha256(fmt::format("{}\n{}\n{}\n{}", gguf::fingerprint(model.reader()), model.settings(),
                                                  json_text(text_.write), n_ctx));
  progress_ = open_written_chunks(run_.resume.resume, identity);
  text_.chunks = load_written_chunks(
      progress_, run_.replace ? ResumeFile::Unusable::kReplace : ResumeFile::Unusable::kRefuse, n_ctx);
  n_resumed_ = std::ssize(text_.chunks);
}

void OwnText::write(int64_t n_chunks, const ProgressCallback& progress) {
  if (std::ssize(text_.chunks) < n_chunks) write_missing(n_chunks, progress);
  count(n_chunks);
}

void OwnText::count(int64_t n_chunks) {
  const WritingFigures before = figures_;
  figures_ = {.n_chunks = n_chunks,
              .n_tokens = before.n_tokens,
              .resumed_chunks = std::min(n_resumed_, n_chunks),
              .parallel = before.parallel,
              .seconds = before.seconds};
  for (const generate::WrittenChunk& chunk : std::span(text_.chunks).first(static_cast<size_t>(n_chunks))) {
    figures_.n_texts += std::ssize(chunk.starts);
    figures_.n_ended += chunk.n_ended;
    figures_.n_looped += chunk.n_looped;
    figures_.n_dropped += chunk.n_dropped;
  }
}

void OwnText::write_missing(int64_t n_chunks, const ProgressCallback& progress) {
  const auto begin = std::chrono::steady_clock::now();
  auto next_save = begin + run_.resume.interval();
  const auto n_written = [&] { return std::ssize(text_.chunks); };
  const auto tell = [&] {
    if (progress) progress({.stage = "write", .done = n_written(), .total = n_chunks, .unit = "chunks"});
  };
  tell();
  figures_.parallel = std::min(options_.at_a_time, n_chunks - n_written());
  write_chunks(model_.model(), tokenizer_, beginnings_, options_, n_written(), n_chunks,
               [&](int64_t, generate::WrittenChunk chunk) {
                 text_.chunks.push_back(std::move(chunk));
                 figures_.n_tokens += options_.n_ctx;
                 tell();
                 const auto now = std::chrono::steady_clock::now();
                 if (!progress_.is_kept() || (now < next_save && n_written() < n_chunks)) return;
                 save(progress_, text_.chunks);
                 next_save = now + run_.resume.interval();
               });
  figures_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace steelyard::jobs
