#include "figure_limits.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::tools {
namespace {

using jobs::DivergenceFigures;

struct Figure {
  std::string_view name;
  double (*of_divergence)(const DivergenceFigures&);  // null: the perplexity
};

constexpr Figure kFigures[] = {
    {"ppl", nullptr},
    {"kld", [](const DivergenceFigures& figures) { return figures.mean_kld.mean; }},
    {"kld_p99", [](const DivergenceFigures& figures) { return figures.kld.p99; }},
    {"kld_max", [](const DivergenceFigures& figures) { return figures.kld.max; }},
};

const Figure* find_figure(std::string_view name) {
  const auto* const found = std::ranges::find(kFigures, name, &Figure::name);
  return found == std::end(kFigures) ? nullptr : found;
}

Limit parse_limit(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos)
    fail("", "--fail-above \"{}\": expected FIGURE=LIMIT, e.g. kld=0.02", printable(text));
  Limit limit{.name = text.substr(0, equals)};
  if (find_figure(limit.name) == nullptr) {
    std::vector<std::string_view> known;
    for (const Figure& figure : kFigures) known.push_back(figure.name);
    fail("", "--fail-above: unknown figure \"{}\" (known: {})", printable(limit.name), fmt::join(known, ", "));
  }
  const char* const end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data() + equals + 1, end, limit.most);
  if (error != std::errc() || read != end || !std::isfinite(limit.most) || limit.most < 0) {
    fail("", "--fail-above: the limit of {} is \"{}\", expected a number from 0", limit.name,
         printable(text.substr(equals + 1)));
  }
  return limit;
}

}  // namespace

std::vector<Limit> parse_limits(const std::vector<std::string>& texts) {
  std::vector<Limit> limits;
  for (const std::string& text : texts) {
    Limit limit = parse_limit(text);
    if (std::ranges::find(limits, limit.name, &Limit::name) != limits.end()) {
      fail("", "--fail-above: {} has two limits", limit.name);
    }
    limits.push_back(std::move(limit));
  }
  return limits;
}

void check(const std::vector<Limit>& limits, const jobs::PerplexityOptions& options) {
  const bool measured = options.tokens.empty() && (options.kl_divergence || options.self_check);
  for (const Limit& limit : limits) {
    if (find_figure(limit.name)->of_divergence == nullptr || measured) continue;
    fail("", "--fail-above {}: a divergence is measured with --kl-divergence or --self-check only", limit.name);
  }
}

std::string exceeded(const std::vector<Limit>& limits, const jobs::PerplexityResult& result) {
  std::vector<std::string> all;
  for (const Limit& limit : limits) {
    const Figure& figure = *find_figure(limit.name);
    STEELYARD_CHECK(figure.of_divergence == nullptr || result.divergence.has_value());
    const double value = figure.of_divergence == nullptr ? result.perplexity : figure.of_divergence(*result.divergence);
    if (!(value <= limit.most)) all.push_back(fmt::format("{} is {:.6g}, above {:.6g}", limit.name, value, limit.most));
  }
  return fmt::format("{}", fmt::join(all, "; "));
}

}  // namespace steelyard::tools
