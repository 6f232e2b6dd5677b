#include "evaluate/evaluation.h"

#include <algorithm>
#include <cmath>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "cluster/deal.h"
#include "schedule/non_finite.h"
#include "simd/target.h"

namespace steelyard::evaluate {
namespace {

// What must be equal for two runs to give the same figures.
std::string run_identity(const ModelIdentity& model, const tokenizer::Chunks& chunks, const DivergenceBase* base,
                         const EvaluationOptions& options) {
  return sha256(fmt::format("{}\n{}\n{} {} {} {} {}\n{}\n{}\n{}", model.fingerprint,
                            sha256(std::as_bytes(chunks.tokens())), chunks.count(), chunks.n_ctx(),
                            chunks.first_scored(), chunks.n_scored(), options.sweep.n_batch, options.settings,
                            base != nullptr ? base->digest() : "", options.write_base ? options.base_path : ""));
}

// What comes of scored rows, wherever they are scored.
struct Scored {
  std::vector<TokenScore> scores;
  std::vector<RouterCounts> routers;
  std::string base_rows;  // as they are written

  // Of the rows that follow.
  void add(const Scored& other) {
    scores.insert(scores.end(), other.scores.begin(), other.scores.end());
    for (size_t i = 0; i < other.routers.size(); ++i) routers[i] += other.routers[i];
    base_rows += other.base_rows;
  }
  cluster::Message message() const {
    cluster::Message message;
    ByteWriter out(message);
    out.number<uint64_t>(scores.size());
    out.values(std::span<const TokenScore>(scores));
    out.values(std::span<const RouterCounts>(routers));
    out.text(base_rows);
    return message;
  }
  static Scored from(const cluster::Message& message, size_t n_routers) {
    ByteReader in(std::as_bytes(std::span(message)), "a message");
    Scored scored;
    scored.scores = in.values<TokenScore>(in.number<uint64_t>());
    scored.routers = in.values<RouterCounts>(n_routers);
    scored.base_rows = in.text(in.remaining());
    return scored;
  }
};

class Run {
 public:
  Run(const model::Model& model, const std::string& path, const tokenizer::Chunks& chunks, const DivergenceBase* base,
      DivergenceBaseEncoder* encoder, DivergenceBaseWriter* writer, bool compare_routers, Progress progress)
      : model_(model),
        path_(path),
        chunks_(chunks),
        base_(base),
        encoder_(encoder),
        writer_(writer),
        compare_routers_(compare_routers),
        progress_(std::move(progress)) {}

  size_t n_routers() const { return progress_.routers.size(); }

  Scored scored(const ScoredLogits& rows) const {
    Scored result;
    result.scores.resize(static_cast<size_t>(rows.n_rows));
    result.routers.resize(n_routers());
    const std::span scores(result.scores);
    parallel_for(rows.n_rows, 4, [&](int64_t r) { scores[static_cast<size_t>(r)] = score(rows, r); });
    for (int64_t r = 0; r < rows.n_rows; ++r) {
      const TokenScore& score = scores[static_cast<size_t>(r)];
      if (!std::isfinite(score.nll) || !std::isfinite(score.kld)) {
        fail(path_, "chunk {}: the {} at position {} is not finite; the first number that is not comes from {}",
             rows.chunk + 1, std::isfinite(score.nll) ? "divergence" : "likelihood",
             chunks_.first_scored() + rows.first + r, schedule::first_non_finite(model_, chunks_.input(rows.chunk)));
      }
    }
    if (compare_routers_) compare_routers(rows, result.routers);
    if (encoder_ != nullptr) {
      const std::span<const std::byte> bytes = encoder_->encode(rows);
      result.base_rows.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return result;
  }

  // In the order of chunks.
  void take(const Scored& scored) {
    progress_.scores.insert(progress_.scores.end(), scored.scores.begin(), scored.scores.end());
    for (size_t i = 0; i < scored.routers.size(); ++i) progress_.routers[i] += scored.routers[i];
    if (writer_ != nullptr) writer_->append(std::as_bytes(std::span(scored.base_rows)));
  }

  Progress& progress() { return progress_; }
  // First the base's part, then what vouches for it.
  void save(ResumeFile& file) {
    if (writer_ != nullptr) progress_.base_bytes = writer_->make_durable();
    save_progress(file, progress_);
    if (writer_ != nullptr) writer_->keep();
  }

 private:
  TokenScore score(const ScoredLogits& rows, int64_t r) const {
    const tokenizer::TokenId target = rows.targets[static_cast<size_t>(r)];
    const std::span<const float> x = rows.row(r);
    if (base_ != nullptr) return base_->compare(rows.chunk, rows.first + r, target, x);
    return {.nll = log_normalizer(x).log_sum - x[static_cast<size_t>(target)]};
  }

  void compare_routers(const ScoredLogits& rows, std::span<RouterCounts> counts) const {
    const size_t n_choices = rows.experts.size() / static_cast<size_t>(rows.n_rows);
    for (int64_t r = 0; r < rows.n_rows; ++r) {
      count_agreement(base_->choices(rows.chunk, rows.first + r),
                      rows.experts.subspan(static_cast<size_t>(r) * n_choices, n_choices), counts);
    }
  }

  const model::Model& model_;
  const std::string& path_;
  const tokenizer::Chunks& chunks_;
  const DivergenceBase* base_;
  DivergenceBaseEncoder* encoder_;
  DivergenceBaseWriter* writer_;
  bool compare_routers_;
  Progress progress_;
};

}  // namespace

uint64_t evaluation_bytes(const tokenizer::Chunks& chunks, const ModelIdentity& identity) {
  const auto n_tokens = static_cast<uint64_t>(chunks.count() * chunks.n_scored());
  const uint64_t token_bytes =
      sizeof(TokenScore) + static_cast<uint64_t>(identity.experts.n_choices()) * sizeof(uint16_t);
  return scoring_bytes(chunks, identity.n_vocab) + n_tokens * token_bytes;
}

EvaluationResult evaluate(const model::Model& model, const ModelIdentity& identity, const tokenizer::Chunks& chunks,
                          const DivergenceBase* base, const EvaluationOptions& options,
                          const EvaluationProgress& progress) {
  cluster::Ranks* const ranks = options.sweep.ranks;
  const bool several = cluster::are_several(ranks), leads = cluster::leads(ranks);
  const ExpertShape& experts = identity.experts;
  const bool compare_routers = base != nullptr && !experts.layers.empty() && base->experts() == experts;
  const std::string run_id = run_identity(identity, chunks, base, options);
  if (several)
    cluster::expect_equal(*ranks, run_id + std::string(simd::target_name(simd::chosen_target())),
                          "model, text, base, setting or instruction set");
  ResumeFile file = open_progress(leads ? options.progress_path : "", run_id);
  std::optional<Progress> earlier = load_progress(file);
  const auto n_scored = static_cast<size_t>(chunks.n_scored());
  const size_t n_routers = compare_routers ? experts.layers.size() : 0;
  if (earlier && (earlier->scores.size() % n_scored != 0 || earlier->routers.size() != n_routers)) {
    fail(options.progress_path, "is damaged");
  }
  if (!earlier) earlier.emplace().routers.resize(n_routers);
  auto done = static_cast<int64_t>(earlier->scores.size() / n_scored);
  if (several) done = cluster::broadcast_number(*ranks, done);

  std::unique_ptr<DivergenceBaseEncoder> encoder;
  std::unique_ptr<DivergenceBaseWriter> writer;
  if (options.write_base) encoder = DivergenceBaseEncoder::create(options.layout, chunks, identity);
  if (options.write_base && leads) {
    std::optional<AtomicFile::Resume> resume;
    if (file.is_kept())
      resume = {.size = earlier->base_bytes, .complete = done == chunks.count(), .ours = file.was_there()};
    writer = DivergenceBaseWriter::create(options.layout, options.base_path, chunks, identity, resume, options.note);
  }
  Run run(model, identity.path, chunks, base, encoder.get(), writer.get(), compare_routers, std::move(*earlier));
  ExpertRecorder recorder(experts, chunks);
  const bool record = compare_routers || (options.write_base && options.layout == BaseLayout::kCompact);
  auto last_saved = std::chrono::steady_clock::now();
  const auto save_if_due = [&] {
    const auto now = std::chrono::steady_clock::now();
    if (!file.is_kept() || now - last_saved < options.save_every) return;
    run.save(file);
    last_saved = now;
  };
  const auto release = [&](const ScoredLogits& rows) {
    if (base != nullptr && rows.first + rows.n_rows == chunks.n_scored()) base->release(rows.chunk);
  };
  const ScoreOptions how{identity.path, options.sweep, record && !experts.layers.empty() ? &recorder : nullptr,
                         options.layer_done};
  if (several && options.sweep.keep_layers) {
    Scored of_window;  // that this rank scores
    const std::function<void(const ScoredLogits&)> add = [&](const ScoredLogits& rows) {
      of_window.add(run.scored(rows));
      release(rows);
    };
    ChunkScorer scorer(model, chunks, identity.n_vocab, how, add);
    const int64_t n_windows = (chunks.count() - done + scorer.window() - 1) / scorer.window();
    const auto score = [&](int64_t window) {
      of_window = {.routers = std::vector<RouterCounts>(n_routers)};
      scorer.score(done + window * scorer.window());
      return of_window.message();
    };
    cluster::deal_out(*ranks, n_windows, score, [&](int64_t, const cluster::Message& message) {
      run.take(Scored::from(message, n_routers));
      progress(run.progress().scores);
      save_if_due();
    });
  } else {
    score_chunks(model, chunks, identity.n_vocab, how, done, [&](const ScoredLogits& rows) {
      const Scored scored = run.scored(rows);
      run.take(scored);
      if (options.rows_scored) options.rows_scored(rows, scored.scores);
      progress(run.progress().scores);
      release(rows);
      // Only whole batches: a resumed run forms the same ones, and so gets the same digits.
      if (rows.batch_ends) save_if_due();
    });
  }
  // All of it, so that whoever publishes the figures can be interrupted, too; and once the base has its name, this says
  // so.
  if (file.is_kept() && done < chunks.count()) run.save(file);
  if (writer) writer->finish();
  check_mapped_files_unchanged();
  Progress& result = run.progress();
  return {std::move(result.scores), std::move(result.routers), experts, done, std::move(file)};
}

}  // namespace steelyard::evaluate
