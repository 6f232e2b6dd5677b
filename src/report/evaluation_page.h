// The page of an evaluation: perplexity over a text and, where a base is compared with, what a quantized model has lost
// (docs/report.md). Plain data in, HTML out; jobs fill the data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace steelyard::report {

struct Estimate {
  double mean = 0;
  double standard_error = 0;  ///< 0: not known
};

/// A token that a model finds most likely.
struct Choice {
  std::string token;  ///< any bytes
  double probability = 0;
};

struct WorstToken {
  int64_t chunk = 0, position = 0;               ///< of the token in its chunk, from 0
  std::string before, token;                     ///< the text has, any bytes
  double base_probability = 0, probability = 0;  ///< of this token
  std::optional<Choice> base_choice, choice;     ///< where known
  double kld = 0;                                ///< nats
};

struct RouterLayer {
  int64_t layer = 0;
  double same_set = 0;  ///< share of tokens with the same set of experts
  double overlap = 0;   ///< share of the base's experts that are chosen too
};

struct Routers {
  int64_t n_used = 0, n_expert = 0;
  double same_set = 0, overlap = 0;  ///< over all layers
  std::vector<RouterLayer> layers;
};

struct Percentile {
  std::string name;  ///< "99 %"
  double kld = 0;    ///< nats
};

/// From the base. KL divergences are in nats per token.
struct DivergenceDetails {
  Estimate mean_kld, same_top;  ///< same_top: a share
  std::vector<Percentile> percentiles;
  std::vector<double> kld_by_chunk;  ///< means
  std::vector<WorstToken> worst;     ///< the largest first
  std::optional<Routers> routers;
};

struct EvaluationPage {
  std::string model, text;  ///< text: its file; empty: that of the base
  std::string base;         ///< file; empty: none
  int64_t n_ctx = 0, n_chunks = 0, n_scored = 0;
  Estimate perplexity;
  std::vector<double> running;              ///< perplexity after each chunk
  std::optional<Estimate> base_perplexity;  ///< with a base, as the following
  std::optional<Estimate> ratio;            ///< perplexity / base's
  std::vector<double> base_running;
  std::optional<DivergenceDetails> divergence;
};

/// A whole file.
std::string evaluation_page(const EvaluationPage& data);

/// The sections about a divergence, for pages that have more: percentiles and chunks, routers, worst tokens.
std::string divergence_sections(const DivergenceDetails& details);

}  // namespace steelyard::report
