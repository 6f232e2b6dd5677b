// Reports of jobs: the pages say what the results say, results are as without a page, and nothing is computed for a
// page that cannot be written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <stdexcept>

#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "jobs/search.h"
#include "jobs/search_options.h"
#include "report/html.h"
#include "report/pages.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;
using testing::Not;

class ReportTest : public testing::Test {
 protected:
  std::string page() const { return test::read_text(folder_ / "report.html"); }

  SearchOptions search_options(const std::string& golden_model) const {
    SearchOptions options = small_search(golden_model, folder_, "Q4_0", "Q4_0,Q5_0,Q8_0");
    options.rounds = 1;
    return options;
  }

  // A quantized file and the base of its original, on 6 chunks.
  PerplexityOptions compared(const std::string& golden_model) const {
    PerplexityOptions options;
    options.model.model = test::golden("models/" + golden_model + "/model.gguf");
    options.text = {.file = test::golden("imatrix/text.txt"), .ctx_size = 64, .chunks = 6};
    options.kl_divergence_base = folder_ / "base";
    perplexity(options);
    QuantizeOptions quantize_options{.model = options.model.model, .output = folder_ / "q.gguf", .threads = 2};
    quantize_options.source.type = "Q4_0";
    quantize(quantize_options);
    options.model.model = quantize_options.output;
    options.kl_divergence = true;
    return options;
  }

  const test::TempFolder folder_;
};

TEST_F(ReportTest, OfASearchSaysWhatItsResultSays) {
  SearchOptions options = search_options("deepseek3");
  const SearchResult without = search(options);
  const std::string plan_text = test::read_text(options.output);
  options.report = folder_ / "report.html";
  const SearchResult result = search(options);
  EXPECT_EQ(to_json(result), to_json(without));
  EXPECT_EQ(test::read_text(options.output), plan_text);

  const std::string html = page();
  test::expect_sound(html);
  EXPECT_THAT(html, HasSubstr(result.chosen + " (chosen)"));
  for (const SearchMeasurement& measured : result.measured) {
    EXPECT_THAT(html, HasSubstr(">" + report::count_text(measured.bytes) + "</small>")) << measured.plan;
    EXPECT_THAT(html, HasSubstr(report::percent_text(measured.same_top))) << measured.plan;
    if (measured.difference != 0) {
      const std::string size = report::number_text(std::abs(measured.difference), measured.standard_error);
      EXPECT_THAT(html, HasSubstr((measured.difference < 0 ? "−" : "+") + size)) << measured.plan;
    }
  }
  const auto chosen = std::ranges::find(result.measured, result.chosen, &SearchMeasurement::plan);
  EXPECT_THAT(html, HasSubstr("<span class=\"value\">" + report::number_text(chosen->divergence) + "</span>"));
  // Every tensor that was tried is in both maps, with the type that the plan gives.
  PlanOptions planned{.model = options.model};
  planned.source.plan = options.output;
  for (const PlannedTensor& tensor : plan(planned).tensors) {
    const auto is_of = [&](const Sensitivity& at) { return at.tensor == tensor.name; };
    if (std::ranges::none_of(result.sensitivities, is_of)) continue;
    EXPECT_EQ(test::count(html, "<title>" + tensor.name + ": " + tensor.type + ","), 2u) << tensor.name;
  }
  // The sum of all groups is what was written.
  EXPECT_THAT(html, HasSubstr("<td>all</td>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">" + report::bytes_text(result.bytes) + "</td>"));
  for (const char* const part :
       {"<td>experts</td>", "<td>shared experts</td>", "<td>attention</td>", "Router agreement", "Worst tokens",
        "best types for the bytes", "more (+5.0 % of the budget)"})
    EXPECT_THAT(html, HasSubstr(part)) << part;
  EXPECT_GT(test::count(html, " estimated</title>"), 10u);
}

TEST_F(ReportTest, ADenseModelHasNoRouters) {
  SearchOptions options = search_options("llama");
  options.report = folder_ / "report.html";
  search(options);
  test::expect_sound(page());
  EXPECT_THAT(page(), Not(HasSubstr("Router agreement")));
  EXPECT_THAT(page(), HasSubstr("<td>dense feed-forward</td>"));
}

// Nothing can be chosen: one candidate for each tensor.
TEST_F(ReportTest, ASearchWithoutAChoice) {
  SearchOptions options = search_options("llama");
  options.source.type = options.types = "Q8_0";
  options.bpw = 16;
  options.report = folder_ / "report.html";
  EXPECT_EQ(search(options).chosen, "start");
  test::expect_sound(page());
  EXPECT_THAT(page(), HasSubstr("Nothing that was measured is better"));
  EXPECT_THAT(page(), HasSubstr("No type would change"));
}

// The search has not tried the types of a preset, so their losses are not known.
TEST_F(ReportTest, OfAPresetThatWasChosen) {
  SearchOptions options = search_options("llama");
  options.types = "Q4_0";
  options.report = folder_ / "report.html";
  const SearchResult result = search(options);
  ASSERT_EQ(result.measured[1].plan, result.chosen);
  test::expect_sound(page());
  EXPECT_THAT(page(), HasSubstr(result.chosen + " (chosen)"));
  EXPECT_THAT(page(), HasSubstr("types were not tried: losses"));
  EXPECT_THAT(page(), HasSubstr("loss not estimated"));
}

// All was measured before: the figures are there, the logits are not.
TEST_F(ReportTest, OfASearchThatGoesOn) {
  SearchOptions options = search_options("llama");
  options.resume = folder_ / "state";
  options.report = folder_ / "report.html";
  const SearchResult result = search(options);
  EXPECT_THAT(page(), HasSubstr("Worst tokens"));
  EXPECT_EQ(to_json(search(options)), to_json(result));
  test::expect_sound(page());
  EXPECT_THAT(page(), Not(HasSubstr("<h2>Worst tokens")));
  EXPECT_THAT(page(), HasSubstr("which was an earlier one"));
  EXPECT_THAT(page(), HasSubstr("best types for the bytes"));
}

TEST_F(ReportTest, OfADivergenceSaysWhatItsResultSays) {
  PerplexityOptions options = compared("deepseek2");
  const PerplexityResult without = perplexity(options);
  options.report = folder_ / "report.html";
  const PerplexityResult result = perplexity(options);
  EXPECT_EQ(to_json(result), to_json(without));
  const std::string html = page();
  test::expect_sound(html);
  for (const double value : {result.divergence->kld.median, result.divergence->kld.p90, result.divergence->kld.p95,
                             result.divergence->kld.p99, result.divergence->kld.p99_9, result.divergence->kld.max,
                             result.divergence->mean_kld.mean})
    EXPECT_THAT(html, HasSubstr(">" + report::number_text(value) + "</text>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">" + report::number_text(result.divergence->kld.max) + "</td>"));
  EXPECT_THAT(html, HasSubstr("<span class=\"value\">" + report::number_text(result.perplexity) + "</span>"));
  EXPECT_THAT(html, HasSubstr("<span class=\"value\">" + report::number_text(result.divergence->base_perplexity.mean)));
  for (const Agreement& layer : result.router_agreement->layers)
    EXPECT_THAT(html,
                HasSubstr(fmt::format("layer {}: same set for {} of the tokens, {} of the experts", *layer.layer,
                                      report::percent_text(layer.same_set.mean), report::percent_text(layer.overlap))));
  for (size_t i = 0; i < result.running.size(); ++i)
    EXPECT_THAT(html,
                HasSubstr(fmt::format("quantized: {} after chunk {}", report::number_text(result.running[i]), i + 1)));
  EXPECT_EQ(test::count(html, "<span class=\"context\">"), 24u);
  EXPECT_THAT(html, Not(HasSubstr("<td>–</td>")));  // both choices are known everywhere
}

// At the worst position both models' choices are what a look at all logits says.
TEST_F(ReportTest, ChoicesAreThoseOfTheLogits) {
  PerplexityOptions options = compared("llama");
  options.kl_divergence_base_format = "llama";
  options.report = folder_ / "report.html";
  perplexity(options);
  const std::string compact = page();
  // The other layout has all tokens, and so the same first ones.
  PerplexityOptions base = options;
  base.model.model = test::golden("models/llama/model.gguf");
  base.kl_divergence = false;
  base.report = "";
  base.kl_divergence_base = folder_ / "all";
  perplexity(base);
  options.kl_divergence_base = base.kl_divergence_base;
  perplexity(options);
  const auto says = [](const std::string& html) {
    const size_t begin = html.find("<span class=\"context\">");
    const size_t choice = html.find("<td><span class=\"token\">", begin);
    return html.substr(choice, html.find("</span>", choice) - choice);
  };
  EXPECT_EQ(says(page()), says(compact));
  EXPECT_NE(says(compact), "");
}

TEST_F(ReportTest, AResumedRunDoesNotKnowWhatWasSaidBefore) {
  PerplexityOptions options = compared("llama");
  options.report = folder_ / "report.html";
  options.sweep = {.order = "token", .batch_size = 64};
  perplexity(options);
  const std::string whole = page();
  options.resume = {.resume = folder_ / "progress", .save_every = 0};
  EXPECT_THROW(perplexity(options,
                          [](const Progress& progress) {
                            if (progress.stage == "chunks" && progress.done == 4) throw std::runtime_error("enough");
                          }),
               std::runtime_error);
  EXPECT_EQ(perplexity(options).resumed_chunks, 3);
  const std::string resumed = page();
  test::expect_sound(resumed);
  const size_t unknown = test::count(resumed, "<td>–</td>");
  EXPECT_GT(unknown, 0u);
  EXPECT_LT(unknown, 24u);
  EXPECT_EQ(test::count(resumed, "<span class=\"context\">"), test::count(whole, "<span class=\"context\">"));
}

TEST_F(ReportTest, OfPerplexityAlone) {
  PerplexityOptions options;
  options.model.model = test::golden("models/llama/model.gguf");
  options.text = {.file = test::golden("imatrix/text.txt"), .ctx_size = 64, .chunks = 1};
  options.report = folder_ / "report.html";
  const PerplexityResult result = perplexity(options);
  test::expect_sound(page());
  EXPECT_THAT(page(), HasSubstr("<span class=\"value\">" + report::number_text(result.perplexity) + "</span>"));
  EXPECT_THAT(page(), Not(HasSubstr("Worst tokens")));
}

TEST_F(ReportTest, IsRefusedBeforeTheWork) {
  PerplexityOptions options;
  options.model.model = test::golden("models/llama/model.gguf");
  options.text = {.file = test::golden("imatrix/text.txt"), .ctx_size = 64, .chunks = 6};
  const auto failure = [&](const std::function<void(PerplexityOptions&)>& change) {
    PerplexityOptions changed = options;
    change(changed);
    return test::error_of([&] { perplexity(changed, [](const Progress&) { FAIL() << "works"; }); });
  };
  EXPECT_THAT(failure([](auto& at) { at.report = at.text.file; }), HasSubstr("is also the input"));
  EXPECT_THAT(failure([](auto& at) { at.report = at.kl_divergence_base = "same"; }), HasSubstr("is also the output"));
  EXPECT_THAT(failure([&](auto& at) { at.report = folder_ / "absent/report.html"; }), HasSubstr("absent"));
  EXPECT_THAT(failure([&](auto& at) { at.self_check = true, at.report = folder_ / "r"; }), HasSubstr("--report"));
  EXPECT_THAT(failure([&](auto& at) { at.text = {}, at.tokens = "ids", at.report = folder_ / "r"; }),
              HasSubstr("--report"));
  SearchOptions search_for = search_options("llama");
  search_for.resume = folder_ / "state";
  for (const std::string& path :
       {search_for.model, search_for.output, search_for.resume, search_for.text.file, folder_ / "absent/r"}) {
    search_for.report = path;
    const std::string error = test::error_of([&] { search(search_for, [](const Progress&) { FAIL() << "works"; }); });
    EXPECT_THAT(error, HasSubstr(path));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / ""));
}

}  // namespace
}  // namespace steelyard::jobs
