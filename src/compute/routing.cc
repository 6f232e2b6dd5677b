#include "compute/routing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace steelyard::compute {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

void gate(std::span<const float> logits, Gating gating, std::span<float> probs) {
  if (gating == Gating::kSigmoid) {
    std::transform(logits.begin(), logits.end(), probs.begin(), [](float z) { return 1.0f / (1.0f + std::exp(-z)); });
  } else if (gating == Gating::kSqrtSoftplus) {
    std::transform(logits.begin(), logits.end(), probs.begin(),
                   [](float z) { return std::sqrt(std::max(z, 0.0f) + std::log1p(std::exp(-std::abs(z)))); });
  } else if (gating == Gating::kSoftmaxWeight) {  // the softmax comes after the selection
    std::copy(logits.begin(), logits.end(), probs.begin());
  } else {
    const float max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (size_t e = 0; e < logits.size(); ++e) sum += probs[e] = std::exp(logits[e] - max);
    for (float& p : probs) p = static_cast<float>(p / sum);
  }
}

// Sets the scores of all groups but the n_group_used best to minus infinity.
void exclude_groups(std::span<float> score, int64_t n_group, int64_t n_group_used) {
  const size_t size = score.size() / static_cast<size_t>(n_group);
  const auto group_score = [&](int64_t g) {
    float best = kExcluded, second = kExcluded;
    for (const float s : score.subspan(static_cast<size_t>(g) * size, size)) {
      if (s > best)
        second = std::exchange(best, s);
      else
        second = std::max(second, s);
    }
    return size > 1 ? best + second : best;
  };
  // Rank of a group = how many groups beat it; the earlier group wins a tie. Scores are read before any is overwritten.
  std::array<float, kMaxExpertGroups> scores;
  STEELYARD_CHECK(n_group <= kMaxExpertGroups);
  for (int64_t g = 0; g < n_group; ++g) scores[g] = group_score(g);
  for (int64_t g = 0; g < n_group; ++g) {
    int64_t rank = 0;
    for (int64_t other = 0; other < n_group; ++other) {
      rank += scores[other] > scores[g] || (scores[other] == scores[g] && other < g);
    }
    if (rank >= n_group_used) std::ranges::fill(score.subspan(static_cast<size_t>(g) * size, size), kExcluded);
  }
}

}  // namespace

void select_experts(std::span<const float> logits, const RouteArgs& args, std::span<float> scratch, int32_t* expert,
                    float* weight, const int32_t* chosen) {
  const std::span<float> probs = scratch.subspan(0, logits.size());
  const std::span<float> score = scratch.subspan(logits.size(), logits.size());
  gate(logits, args.gating, probs);
  for (size_t e = 0; e < logits.size(); ++e) score[e] = probs[e] + (args.bias != nullptr ? args.bias[e] : 0.0f);
  if (args.n_group > 1) exclude_groups(score, args.n_group, args.n_group_used);

  float sum = 0;
  for (int64_t rank = 0; rank < args.n_used; ++rank) {
    if (chosen != nullptr) {
      expert[rank] = chosen[rank];
    } else {
      const auto best = std::max_element(score.begin(), score.end());  // the first of equals
      expert[rank] = static_cast<int32_t>(best - score.begin());
      *best = kExcluded;
    }
    weight[rank] = probs[static_cast<size_t>(expert[rank])];
    sum += weight[rank];
  }
  if (args.gating == Gating::kSoftmaxWeight) {
    const float max = *std::max_element(weight, weight + args.n_used);
    sum = 0;
    for (int64_t rank = 0; rank < args.n_used; ++rank) sum += weight[rank] = std::exp(weight[rank] - max);
    for (int64_t rank = 0; rank < args.n_used; ++rank) weight[rank] /= sum;
    sum = 1;
  }
  const float divisor = args.normalize ? std::max(sum, 0x1p-14f) : 1.0f;
  for (int64_t rank = 0; rank < args.n_used; ++rank) weight[rank] = weight[rank] / divisor * args.scale;
}

// weight = scale p / max(sum of the chosen p, 2^-14), or scale p; p by the gating. With softmax over the chosen the sum
// is 1 whatever the logits, and its gradient nothing.
void add_selection_gradient(std::span<const float> logits, const RouteArgs& args, const int32_t* expert,
                            const float* dweight, std::span<double> scratch, float* dlogits) {
  const size_t n_expert = logits.size();
  const auto n_used = static_cast<size_t>(args.n_used);
  const std::span<double> probs = scratch.first(n_expert), dprobs = scratch.subspan(n_expert, n_used);
  const auto logit = [&](size_t e) { return static_cast<double>(logits[e]); };
  const auto chosen = [&](size_t rank) { return static_cast<size_t>(expert[rank]); };
  const auto sigmoid = [](double z) { return 1.0 / (1.0 + std::exp(-z)); };
  const auto softmax = [&](size_t n, const auto& index) {
    double max = logit(index(0)), sum = 0;
    for (size_t i = 1; i < n; ++i) max = std::max(max, logit(index(i)));
    for (size_t i = 0; i < n; ++i) sum += probs[index(i)] = std::exp(logit(index(i)) - max);
    for (size_t i = 0; i < n; ++i) probs[index(i)] /= sum;
  };
  if (args.gating == Gating::kSoftmax) {
    softmax(n_expert, [](size_t e) { return e; });
  } else if (args.gating == Gating::kSoftmaxWeight) {
    softmax(n_used, chosen);
  } else {
    for (size_t e = 0; e < n_expert; ++e) {
      const double z = logit(e);
      probs[e] = args.gating == Gating::kSigmoid ? sigmoid(z)
                                                 : std::sqrt(std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))));
    }
  }

  double sum = 0, mean = 0;
  for (size_t rank = 0; rank < n_used; ++rank) sum += probs[chosen(rank)];
  const bool divided = args.normalize && args.gating != Gating::kSoftmaxWeight && sum > 0x1p-14;
  const double divisor = args.normalize ? std::max(sum, 0x1p-14) : 1.0;
  for (size_t rank = 0; rank < n_used; ++rank) mean += dweight[rank] * probs[chosen(rank)] / sum;
  for (size_t rank = 0; rank < n_used; ++rank)
    dprobs[rank] = args.scale / divisor * (dweight[rank] - (divided ? mean : 0.0));

  double inner = 0;  // of gradients and probabilities, for a softmax
  for (size_t rank = 0; rank < n_used; ++rank) inner += dprobs[rank] * probs[chosen(rank)];
  if (args.gating == Gating::kSoftmax) {
    for (size_t e = 0; e < n_expert; ++e) dlogits[e] -= static_cast<float>(probs[e] * inner);
  }
  for (size_t rank = 0; rank < n_used; ++rank) {
    const double p = probs[chosen(rank)], d = dprobs[rank];
    double dz = 0;
    switch (args.gating) {
      case Gating::kSoftmax:
        dz = p * d;
        break;
      case Gating::kSoftmaxWeight:
        dz = p * (d - inner);
        break;
      case Gating::kSigmoid:
        dz = p * (1.0 - p) * d;
        break;
      case Gating::kSqrtSoftplus:
        dz = p > 0 ? sigmoid(logit(chosen(rank))) / (2.0 * p) * d : 0.0;
        break;
    }
    dlogits[chosen(rank)] += static_cast<float>(dz);
  }
}

void sort_by_expert(Routing& routing) {
  std::fill(routing.row_begin, routing.row_begin + routing.n_expert + 1, 0);
  for (int64_t s = 0; s < routing.n_slots(); ++s) ++routing.row_begin[routing.expert[s] + 1];
  for (int64_t e = 0; e < routing.n_expert; ++e) routing.row_begin[e + 1] += routing.row_begin[e];
  for (int64_t s = 0; s < routing.n_slots(); ++s) {  // row_begin[e] runs ahead through expert e's rows ...
    const int32_t row = routing.row_begin[routing.expert[s]]++;
    routing.row[s] = row;
    routing.token[row] = static_cast<int32_t>(s / routing.n_used);
  }
  for (int64_t e = routing.n_expert; e > 0; --e) routing.row_begin[e] = routing.row_begin[e - 1];  // ... and steps back
  routing.row_begin[0] = 0;
}

}  // namespace steelyard::compute
