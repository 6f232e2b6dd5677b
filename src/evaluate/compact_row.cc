#include "evaluate/compact_row.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/check.h"

namespace steelyard::evaluate {
namespace {

// A number in [0, 1) derived from `seed`: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
double uniform(uint64_t seed) {
  uint64_t z = seed + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// The n_top most likely tokens, in descending order; among equals the smallest id first.
std::vector<tokenizer::TokenId> most_likely(std::span<const float> x, int64_t n_top) {
  std::vector<tokenizer::TokenId> ids(x.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto at = [&](tokenizer::TokenId id) { return x[static_cast<size_t>(id)]; };
  const auto before = [&](tokenizer::TokenId a, tokenizer::TokenId b) {
    return at(a) > at(b) || (at(a) == at(b) && a < b);
  };
  std::nth_element(ids.begin(), ids.begin() + (n_top - 1), ids.end(), before);
  ids.resize(static_cast<size_t>(n_top));
  std::ranges::sort(ids, before);
  return ids;
}

template <typename T>
std::span<const std::byte> take(std::span<const std::byte> bytes, std::span<T> out) {
  std::memcpy(out.data(), bytes.data(), out.size_bytes());
  return bytes.subspan(out.size_bytes());
}

template <typename T>
std::span<std::byte> put(std::span<std::byte> out, std::span<const T> values) {
  std::memcpy(out.data(), values.data(), values.size_bytes());
  return out.subspan(values.size_bytes());
}

// Slack for rounding to float.
constexpr float kSlack = 1e-3f;
bool is_log_prob(float value) { return std::isfinite(value) && value <= kSlack; }

}  // namespace

size_t CompactShape::row_bytes() const {
  return 2 * sizeof(float) + static_cast<size_t>(n_tokens()) * (sizeof(tokenizer::TokenId) + sizeof(float)) +
         static_cast<size_t>(n_choices) * sizeof(uint16_t);
}

CompactShape compact_shape(int64_t n_vocab, int64_t n_choices) {
  const int64_t n_top = std::min(n_vocab, std::clamp<int64_t>(n_vocab / 64, 256, 1024));
  return {n_vocab, n_top, n_top < n_vocab ? n_top / 4 : 0, n_choices};
}

CompactRow make_compact_row(const CompactShape& shape, std::span<const float> x, tokenizer::TokenId target,
                            std::span<const uint16_t> experts, uint64_t seed) {
  const double log_sum = log_normalizer(x).log_sum;
  const auto log_prob = [&](tokenizer::TokenId id) { return static_cast<float>(x[static_cast<size_t>(id)] - log_sum); };
  CompactRow row{log_prob(target), 0, most_likely(x, shape.n_top), {}, {experts.begin(), experts.end()}};

  std::vector<double> tail(x.size());
  for (size_t i = 0; i < x.size(); ++i) tail[i] = std::exp(x[i] - log_sum);
  for (const tokenizer::TokenId id : row.tokens) tail[static_cast<size_t>(id)] = 0;
  const double mass = std::accumulate(tail.begin(), tail.end(), 0.0);
  row.tail_mass = static_cast<float>(mass);

  // One token at every mass / n_samples along the tail. A token that is more likely than this step may be taken more
  // than once.
  const double step = mass / static_cast<double>(std::max<int64_t>(shape.n_samples, 1));
  double end = 0, next = uniform(seed) * step;
  tokenizer::TokenId last = row.tokens.back();
  for (size_t i = 0; i < tail.size() && std::ssize(row.tokens) < shape.n_tokens(); ++i) {
    if (tail[i] == 0) continue;
    end += tail[i];
    last = static_cast<tokenizer::TokenId>(i);
    for (; next < end && std::ssize(row.tokens) < shape.n_tokens(); next += step) row.tokens.push_back(last);
  }
  // Rounding may put the last step beyond the end. A tail of probability 0 has no tokens to sample; its weight is 0.
  row.tokens.resize(static_cast<size_t>(shape.n_tokens()), last);
  for (const tokenizer::TokenId id : row.tokens) row.log_probs.push_back(log_prob(id));
  return row;
}

void store(const CompactRow& row, std::span<std::byte> out) {
  const float scalars[] = {row.target_log_prob, row.tail_mass};
  out = put<float>(out, scalars);
  out = put<tokenizer::TokenId>(out, row.tokens);
  out = put<float>(out, row.log_probs);
  out = put<uint16_t>(out, row.experts);
  STEELYARD_CHECK(out.empty());
}

CompactRow load_compact_row(const CompactShape& shape, std::span<const std::byte> bytes) {
  CompactRow row;
  row.tokens.resize(static_cast<size_t>(shape.n_tokens()));
  row.log_probs.resize(row.tokens.size());
  row.experts.resize(static_cast<size_t>(shape.n_choices));
  bytes = take(bytes, std::span(&row.target_log_prob, 1));
  bytes = take(bytes, std::span(&row.tail_mass, 1));
  bytes = take(bytes, std::span(row.tokens));
  bytes = take(bytes, std::span(row.log_probs));
  take(bytes, std::span(row.experts));
  return row;
}

std::string find_damage(const CompactShape& shape, const CompactRow& row) {
  if (!is_log_prob(row.target_log_prob))
    return fmt::format("log-probability {} of the next token", row.target_log_prob);
  if (!(row.tail_mass >= 0 && row.tail_mass <= 1 + kSlack)) return fmt::format("tail of probability {}", row.tail_mass);
  std::vector<bool> seen(static_cast<size_t>(shape.n_vocab));
  double sum = row.tail_mass;
  for (size_t i = 0; i < row.tokens.size(); ++i) {
    const bool top = i < static_cast<size_t>(shape.n_top);
    const tokenizer::TokenId id = row.tokens[i];
    if (id < 0 || id >= shape.n_vocab) return fmt::format("token {} of {}", id, shape.n_vocab);
    if (!is_log_prob(row.log_probs[i])) return fmt::format("log-probability {}", row.log_probs[i]);
    if (top && seen[static_cast<size_t>(id)]) return fmt::format("token {} twice", id);
    if (top && i > 0 && row.log_probs[i] > row.log_probs[i - 1]) return "log-probabilities that do not descend";
    if (!top && row.tail_mass > 0 && seen[static_cast<size_t>(id)]) return fmt::format("token {} in top and tail", id);
    if (top) {
      seen[static_cast<size_t>(id)] = true;
      sum += std::exp(double{row.log_probs[i]});
    }
  }
  if (std::abs(sum - 1) > kSlack) return fmt::format("probabilities that add up to {:.6f}", sum);
  return "";
}

void named_probabilities(const CompactShape& shape, const CompactRow& row, std::span<int32_t> tokens,
                         std::span<float> probs) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    // The same token's samples follow each other.
    const bool again = static_cast<int64_t>(i) > shape.n_top && row.tokens[i] == row.tokens[i - 1];
    const bool none = again || (static_cast<int64_t>(i) >= shape.n_top && row.tail_mass <= 0);
    tokens[i] = none ? -1 : row.tokens[i];
    probs[i] = none ? 0.0f : std::exp(row.log_probs[i]);
  }
}

TokenScore compare(const CompactShape& shape, const CompactRow& row, std::span<const float> x,
                   tokenizer::TokenId target) {
  const LogNormalizer normalizer = log_normalizer(x);
  const auto log_q = [&](size_t i) { return x[static_cast<size_t>(row.tokens[i])] - normalizer.log_sum; };
  TokenScore score;
  score.nll = normalizer.log_sum - x[static_cast<size_t>(target)];
  score.base_nll = -row.target_log_prob;
  score.same_top = normalizer.argmax == row.tokens[0];

  double top_q = 0;
  const auto n_top = static_cast<size_t>(shape.n_top), n_samples = static_cast<size_t>(shape.n_samples);
  for (size_t i = 0; i < n_top; ++i) {
    top_q += std::exp(log_q(i));
    score.kld += std::exp(double{row.log_probs[i]}) * (row.log_probs[i] - log_q(i));
  }
  const double p = row.tail_mass;
  if (n_samples == 0 || p <= 0) return score;

  // The tail as one outcome gives a lower bound. The missing part is p times the divergence within the tail. With r =
  // (q_i / q) / (p_i / p), that is the mean of r - 1 - log r over i drawn by p_i, because the mean of r is 1.
  constexpr double kSmallest = 1e-15;  // what is left of a sum that rounds to 1
  const double q = std::max(1 - top_q, kSmallest);
  score.kld += p * std::log(p / q);
  double sum = 0, squares = 0;
  for (size_t i = n_top; i < n_top + n_samples; ++i) {
    const double log_r = (log_q(i) - std::log(q)) - (row.log_probs[i] - std::log(p));
    const double term = std::expm1(log_r) - log_r;
    sum += term;
    squares += term * term;
  }
  const auto n = static_cast<double>(n_samples);
  const double mean = sum / n;
  score.kld += p * mean;
  if (n_samples > 1) score.kld_variance = p * p * std::max(0.0, squares / n - mean * mean) / (n - 1);
  return score;
}

}  // namespace steelyard::evaluate
