#include "jobs/search_measure.h"

#include <filesystem>

#include "evaluate/evaluation.h"
#include "jobs/evaluation_report.h"
#include "jobs/model_options.h"
#include "jobs/perplexity.h"

namespace steelyard::jobs {

evaluate::MeanEstimate paired_difference(const ChunkFigures& of, const ChunkFigures& from) {
  std::vector<double> differences(of.divergence.size());
  for (size_t i = 0; i < differences.size(); ++i) differences[i] = of.divergence[i] - from.divergence[i];
  return evaluate::mean_estimate(differences);
}

HeldOut::HeldOut(const SearchOptions& options, int64_t first, int64_t count, std::string path)
    : options_(options), text_(options.text), path_(std::move(path)), base_(path_) {
  text_.from_chunk += first;
  text_.chunks = count;
  PerplexityOptions base;
  base.model.model = options.model;
  base.model.backend = {options.backend};
  base.model.threads = options.threads;
  base.text = text_;
  base.sweep.memory = options.memory;
  base.kl_divergence_base = path_;
  base.scratch_folder = std::filesystem::path(path_).parent_path().string();
  perplexity(base);
}

ChunkFigures HeldOut::measure(const std::string& file) const {
  const auto base = evaluate::DivergenceBase::open(path_);
  const SweepChoice choice{.memory = options_.memory};
  const OpenModel open({.model = file, .backend = {options_.backend}, .threads = options_.threads}, base->n_ctx(),
                       &choice);
  const tokenizer::Tokenizer tokenizer(open.reader().metadata());
  const tokenizer::Chunks chunks = read_chunks(text_, tokenizer, text_.chunks);
  const evaluate::ModelIdentity identity = evaluate::model_identity(open.reader(), open.model().config(), tokenizer);
  evaluate::EvaluationOptions how;
  how.sweep = choice.sweep(open.reader(), open.model().config(), evaluation_bytes(chunks, identity), chunks.n_ctx(),
                           /*output=*/path_);
  how.settings = open.settings();
  how.base_path = path_;
  WorstTokens worst(chunks.n_scored());
  if (!options_.report.empty())
    how.rows_scored = [&](const evaluate::ScoredLogits& rows, std::span<const evaluate::TokenScore> scores) {
      worst.see(rows, scores);
    };
  const evaluate::EvaluationResult evaluated =
      evaluate::evaluate(open.model(), identity, chunks, base.get(), how, [](auto) {});
  ChunkFigures figures;
  const auto n = static_cast<size_t>(chunks.n_scored());
  for (size_t begin = 0; begin < evaluated.scores.size(); begin += n) {
    double divergence = 0, same_top = 0;
    for (size_t i = begin; i < begin + n; ++i) {
      divergence += evaluated.scores[i].kld;
      same_top += static_cast<double>(evaluated.scores[i].same_top);
    }
    figures.divergence.push_back(divergence / static_cast<double>(n));
    figures.same_top.push_back(same_top / static_cast<double>(n));
  }
  if (!options_.report.empty()) figures.details = divergence_details(evaluated, chunks, *base, tokenizer, worst);
  return figures;
}

}  // namespace steelyard::jobs
