// The page of a search: which plan was chosen and how well it does, where its bytes and losses are, and what more or
// fewer bytes would do (docs/report.md). Plain data in, HTML out; jobs/search_report.h fills the data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/evaluation_page.h"

namespace steelyard::report {

/// A plan that was quantized by and measured on the held-out text. Divergences are in nats per token.
struct MeasuredPlan {
  enum class Role { kStart, kPreset, kProposal };

  std::string name;
  Role role = Role::kProposal;
  uint64_t bytes = 0;                ///< of tensor data
  Estimate kld;                      ///< over chunks
  double same_top = 0;               ///< share of tokens
  std::optional<double> estimated;   ///< KLD, where all types were tried
  Estimate from_start, from_chosen;  ///< differences paired by chunk: this one's KLD less theirs
};

/// A tensor under the chosen plan.
struct PlannedTensor {
  std::string name;
  std::optional<int64_t> layer;
  std::string kind;   ///< the name without its layer
  std::string group;  ///< what it is a part of
  std::string type;
  uint64_t bytes = 0, n_elements = 0;
  bool is_planned = true;      ///< plans decide about it; others are in sums alone
  std::optional<double> loss;  ///< its share of the estimated KLD, where it was estimated
};

struct FrontierPoint {
  uint64_t bytes = 0;  ///< of tensor data
  double kld = 0;      ///< estimated
};

/// Tensors of one kind that change from one type to another.
struct TypeChange {
  std::string kind, from, to;
  int64_t n_tensors = 0;
  int64_t more_bytes = 0;  ///< below 0: fewer
  double less_loss = 0;    ///< estimated, nats per token
};

/// The best types for a budget against those for a larger one.
struct MoreBytes {
  uint64_t extra = 0;                    ///< bytes
  double kld_before = 0, kld_after = 0;  ///< estimated
  std::vector<TypeChange> changes;
};

struct SearchPage {
  std::string model, text, output;
  int64_t n_ctx = 0, n_calibrating = 0, n_held_out = 0;  ///< chunks
  uint64_t budget = 0;                                   ///< bytes of tensor data
  uint64_t n_elements = 0;
  std::vector<MeasuredPlan> plans;  ///< the first is the start
  size_t chosen = 0;
  std::vector<PlannedTensor> tensors;
  std::vector<FrontierPoint> frontier;  ///< from few bytes to many
  std::optional<MoreBytes> more;
  DivergenceDetails divergence;  ///< of the chosen plan
};

/// A whole file. Error for a page without plans.
std::string search_page(const SearchPage& data);

}  // namespace steelyard::report
