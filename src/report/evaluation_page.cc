#include "report/evaluation_page.h"

#include <fmt/format.h>

#include <filesystem>

#include "report/charts.h"
#include "report/html.h"

namespace steelyard::report {
namespace {

std::string token_html(std::string_view token) {
  return token.empty() ? "<span class=\"token\"><small>no text</small></span>"
                       : fmt::format("<span class=\"token\">{}</span>", escaped_text(token, /*blanks=*/true));
}

std::string choice_html(const std::optional<Choice>& choice) {
  if (!choice) return "–";
  return fmt::format("{} <small>{}</small>", token_html(choice->token), percent_text(choice->probability));
}

std::string worst_section(const DivergenceDetails& details) {
  if (details.worst.empty()) return "";
  Table table({{"KLD", true},
               {"the text up to this token"},
               {"its probability, then quantized"},
               {"original says"},
               {"quantized says"},
               {"chunk", true},
               {"position", true}});
  for (const WorstToken& at : details.worst)
    table.add({number_text(at.kld),
               fmt::format("<span class=\"context\">{}{}</span>", escaped_text(at.before, /*blanks=*/false),
                           token_html(at.token)),
               fmt::format("{} → {}", percent_text(at.base_probability), percent_text(at.probability)),
               choice_html(at.base_choice), choice_html(at.choice), std::to_string(at.chunk + 1),
               std::to_string(at.position)});
  return section("Worst tokens",
                 "The positions with the largest divergence. A quantized model that is broken somewhere shows it here: "
                 "one kind of text, one language, the beginning of chunks. ␣ is a blank, ↵ a line break.",
                 table.html());
}

std::string router_section(const Routers& routers) {
  BarChart chart{.name = "Router agreement by layer",
                 .x_name = "layer",
                 .y_name = "% of tokens, % of experts",
                 .series = {{"experts that are chosen too", "fa-soft", {}}, {"tokens with the same set", "fa", {}}},
                 .are_shares = true};
  for (const RouterLayer& layer : routers.layers) {
    chart.labels.push_back(std::to_string(layer.layer));
    chart.tooltips.push_back(fmt::format("layer {}: same set for {} of the tokens, {} of the experts", layer.layer,
                                         percent_text(layer.same_set), percent_text(layer.overlap)));
    chart.series[0].values.push_back(layer.overlap);
    chart.series[1].values.push_back(layer.same_set);
  }
  const std::string about = fmt::format(
      "Each token is sent to {} of {} experts. Over all layers {} of the tokens go to the same set of experts as in "
      "the "
      "original, and {} of the original's experts are chosen too.",
      routers.n_used, routers.n_expert, percent_text(routers.same_set), percent_text(routers.overlap));
  return section("Router agreement", about, bar_chart(chart));
}

std::string distribution_section(const DivergenceDetails& details) {
  std::vector<DotRow> dots;
  for (const Percentile& at : details.percentiles) dots.push_back({at.name, at.kld, false});
  dots.push_back({"mean", details.mean_kld.mean, true});
  std::string body = dot_chart("Percentiles of the divergence", "KLD of a token, nats (logarithmic)", dots);
  if (details.percentiles.empty())
    body =
        "<p class=\"note\">Percentiles, router agreement and the worst tokens are known to the run that measured this "
        "plan, which was an earlier one.</p>\n";
  else if (body.empty())
    body = "<p class=\"note\">No token diverges.</p>\n";

  BarChart chunks{.name = "Divergence by chunk",
                  .x_name = "chunk",
                  .y_name = "mean KLD, nats per token",
                  .series = {{"mean KLD", "fa", details.kld_by_chunk}},
                  .mean = details.mean_kld.mean,
                  .mean_label = "mean " + number_text(details.mean_kld.mean)};
  for (size_t i = 0; i < details.kld_by_chunk.size(); ++i) {
    chunks.labels.push_back(std::to_string(i + 1));
    chunks.tooltips.push_back(fmt::format("chunk {}: {}", i + 1, number_text(details.kld_by_chunk[i])));
  }
  body += "<h3>By chunk of the text</h3>\n" + bar_chart(chunks);
  return section(
      "How the divergence is distributed",
      "Half of all tokens lie below the median, and one in a hundred above the value at 99 %. Where the mean is far "
      "above the median, few tokens make most of it.",
      body);
}

std::string perplexity_section(const EvaluationPage& data) {
  LineChart chart{
      .name = "Running perplexity",
      .x_name = "chunks so far",
      .y_name = "perplexity of the text so far",
      .series = {{.name = data.base_running.empty() ? "model" : "quantized", .colour = 'b', .is_curve = true}}};
  const auto add = [](ChartSeries& series, const std::vector<double>& running) {
    for (size_t i = 0; i < running.size(); ++i)
      series.points.push_back(
          {.x = static_cast<double>(i + 1),
           .y = running[i],
           .tooltip = fmt::format("{}: {} after chunk {}", series.name, number_text(running[i]), i + 1)});
  };
  add(chart.series[0], data.running);
  if (!data.base_running.empty()) {
    chart.series.push_back({.name = "original", .colour = 'a', .is_curve = true});
    add(chart.series[1], data.base_running);
  }
  return section(
      "Running perplexity",
      data.base_running.empty()
          ? "How the figure settles over the text."
          : "How the figure settles. The text moves both curves alike; their distance is what quantization does.",
      line_chart(chart));
}

}  // namespace

std::string divergence_sections(const DivergenceDetails& details) {
  return distribution_section(details) + (details.routers ? router_section(*details.routers) : "") +
         worst_section(details);
}

std::string evaluation_page(const EvaluationPage& data) {
  std::vector<Tile> figures;
  if (data.divergence) {
    figures.push_back({"mean KLD", number_text(data.divergence->mean_kld.mean),
                       fmt::format("± {} nats per token", error_text(data.divergence->mean_kld.standard_error))});
    figures.push_back({"same top token", percent_text(data.divergence->same_top.mean),
                       fmt::format("± {}", percent_text(data.divergence->same_top.standard_error))});
  }
  figures.push_back(
      {"perplexity", number_text(data.perplexity.mean), "± " + error_text(data.perplexity.standard_error)});
  if (data.base_perplexity)
    figures.push_back({"perplexity of the original", number_text(data.base_perplexity->mean),
                       "± " + error_text(data.base_perplexity->standard_error)});
  if (data.ratio)
    figures.push_back({"ratio of the two", fmt::format("{:.4f}", data.ratio->mean),
                       fmt::format("± {}", error_text(data.ratio->standard_error))});
  std::string body = tiles(figures);
  body +=
      fmt::format("<p class=\"note\">{} tokens scored in {} chunks of {}. ± is the standard error.{}</p>\n",
                  count_text(static_cast<uint64_t>(data.n_scored)), data.n_chunks, data.n_ctx,
                  data.divergence ? " KLD is the Kullback–Leibler divergence of the model's distribution of the next "
                                    "token from the original's. The same top token: how often both find the same "
                                    "token most likely."
                                  : "");
  if (data.divergence) body += divergence_sections(*data.divergence);
  body += perplexity_section(data);
  std::string subtitle = data.text.empty() ? "on the text of the base" : "on " + data.text;
  if (!data.base.empty()) subtitle += ", compared with " + data.base;
  return page(std::filesystem::path(data.model).filename().string(), data.model + ", " + subtitle, body);
}

}  // namespace steelyard::report
