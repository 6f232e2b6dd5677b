// Whole pages: their numbers are those of the data, for large models and for next to nothing.
#include <gmock/gmock.h>

#include <cmath>

#include "report/html.h"
#include "report/pages.h"

namespace steelyard::report {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(SearchPage, NumbersAreThoseOfTheData) {
  const std::string html = search_page(test::large_page(92));
  test::expect_sound(html);
  for (const char* const text : {"large-bf16.gguf",
                                 "found.plan",
                                 "proposal 1 (chosen)",
                                 "107,374,170,055",
                                 "106,300,440,576",
                                 "0.0387 ± 0.0022",
                                 "0.0512 ± 0.0031",
                                 "+0.0315 ± 0.0024",
                                 "−0.0125 ± 0.0011",
                                 "+0.0440 ± 0.0031",
                                 "0.03710",
                                 "91.2 %",
                                 "92.8 %",
                                 "16 chunks of 512",
                                 "128 others",
                                 "(−24.4 %)",
                                 "With 1.00 GiB more (+1.0 % of the budget)",
                                 "+900.0 MiB",
                                 "−0.001300",
                                 "−2.50 MiB",
                                 "5 % less",
                                 "0.01230",
                                 "0.4567",
                                 "5.678",
                                 "8 of 160 experts",
                                 "41.2 % of the tokens",
                                 "86.2 % of the original"})
    EXPECT_THAT(html, HasSubstr(text)) << text;
}

TEST(SearchPage, EachTensorOfALargeModelHasACellInBothMaps) {
  const SearchPage data = test::large_page(92);
  const std::string html = search_page(data);
  for (const PlannedTensor& tensor : data.tensors)
    EXPECT_EQ(test::count(html, "<title>" + tensor.name + ": "), 2u) << tensor.name;
  EXPECT_GT(data.tensors.size(), 900u);
  EXPECT_LT(html.size(), 2u << 20);
}

// What is far from the budget is in the whole picture alone.
TEST(SearchPage, TheBudgetIsEnlarged) {
  SearchPage data = test::large_page(4);
  data.plans[1].bytes = uint64_t{70} << 30;
  const std::string html = search_page(data);
  EXPECT_EQ(test::count(html, "<title>start: 99.00 GiB, "), 2u);
  EXPECT_EQ(test::count(html, "<title>IQ2_M: 70.00 GiB, "), 1u);
  EXPECT_EQ(test::count(html, "<title>100.0 GiB: 0.04939 estimated"), 2u);
  EXPECT_EQ(test::count(html, "<title>80.00 GiB: 0.09000 estimated"), 1u);
}

TEST(SearchPage, SumsByGroupAreThoseOfTheirTensors) {
  const SearchPage data = test::large_page(4);
  uint64_t experts = 0, all = 0;
  double loss = 0;
  for (const PlannedTensor& tensor : data.tensors) {
    all += tensor.bytes;
    if (tensor.group != "experts") continue;
    experts += tensor.bytes;
    loss += *tensor.loss;
  }
  const std::string html = search_page(data);
  EXPECT_THAT(html, HasSubstr("<td>experts</td><td class=\"n\">3</td><td class=\"n\">" + bytes_text(experts)));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">" + number_text(loss) + "</td>"));
  EXPECT_THAT(html, HasSubstr("<td>all</td><td class=\"n\">" + std::to_string(data.tensors.size()) +
                              "</td><td class=\"n\">" + bytes_text(all)));
}

TEST(SearchPage, TextFromFilesIsNoMarkup) {
  SearchPage data = test::large_page(4);
  data.model = "<script>/\"m\".gguf";
  data.text = "a & b";
  data.tensors[0].kind = "<img>";
  data.tensors[0].group = "<g>";
  data.tensors[0].name = "\x01\xff\"";
  data.plans[1].name = "\">";
  data.more->changes[0].kind = "<c>";
  const std::string html = search_page(data);
  test::expect_sound(html);
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("Say &lt;b&gt;"));
  EXPECT_THAT(html, HasSubstr("␣&quot;quoted&quot;↵"));
  EXPECT_THAT(html, HasSubstr("\\x01\\xff"));
}

// One chunk, one tensor, no experts, no divergence.
TEST(SearchPage, NextToNothingIsAPageToo) {
  SearchPage data{.model = "m.gguf"};
  data.plans = {{.name = "start", .role = MeasuredPlan::Role::kStart, .bytes = 4, .same_top = 1}};
  data.divergence.kld_by_chunk = {0};
  data.divergence.percentiles = {{"median", 0}, {"largest", 0}};
  std::string html = search_page(data);
  test::expect_sound(html);
  EXPECT_THAT(html, HasSubstr("Nothing that was measured is better"));
  EXPECT_THAT(html, HasSubstr("No token diverges"));
  EXPECT_THAT(html, Not(HasSubstr("Router")));
  EXPECT_THAT(html, Not(HasSubstr("more bytes would buy")));
  data.tensors = {{.name = "a", .kind = "a", .group = "other", .type = "T"}};
  data.frontier = {{4, 0}};
  data.more = MoreBytes{};
  html = search_page(data);
  test::expect_sound(html);
  EXPECT_THAT(html, HasSubstr("No type would change"));
}

TEST(SearchPage, BrokenNumbersAreDashes) {
  SearchPage data = test::large_page(4);
  data.plans[0].kld = {std::nan(""), INFINITY};
  data.plans[2].from_start = {std::nan(""), std::nan("")};
  data.more->kld_after = std::nan("");
  data.tensors[0].loss = std::nan("");
  data.frontier[3].kld = INFINITY;
  data.divergence.percentiles[0].kld = std::nan("");
  data.divergence.kld_by_chunk[0] = std::nan("");
  data.divergence.routers->layers[0].overlap = std::nan("");
  test::expect_sound(search_page(data));
}

TEST(EvaluationPage, WithABase) {
  EvaluationPage data{.model = "folder/q.gguf", .base = "b.kld", .n_ctx = 512, .n_chunks = 3, .n_scored = 765};
  data.perplexity = {57.06, 2.29};
  data.running = {40, 50, 57.06};
  data.base_perplexity = Estimate{56.48, 2.28};
  data.ratio = Estimate{1.0101, 0.0046};
  data.base_running = {39, 49, 56.48};
  data.divergence = test::large_page(4).divergence;
  const std::string html = evaluation_page(data);
  test::expect_sound(html);
  for (const char* const text :
       {"<h1>q.gguf</h1>", "compared with b.kld", "57.06", "± 2.3", "56.48", "1.0101", "± 0.0046", "765 tokens",
        "Worst tokens", "Router agreement", "51.2 % → 1.25 %", "original: 39.00 after chunk 1",
        "quantized: 57.06 after chunk 3", "<td class=\"n\">301<"})
    EXPECT_THAT(html, HasSubstr(text)) << text;
}

TEST(EvaluationPage, WithoutABaseThereIsOnlyPerplexity) {
  EvaluationPage data{.model = "m.gguf", .text = "t.txt", .n_ctx = 512, .n_chunks = 1, .n_scored = 255};
  data.perplexity = {57.06, 0};
  data.running = {57.06};
  const std::string html = evaluation_page(data);
  test::expect_sound(html);
  EXPECT_THAT(html, HasSubstr("on t.txt"));
  EXPECT_THAT(html, HasSubstr("model: 57.06 after chunk 1"));
  EXPECT_THAT(html, Not(HasSubstr("Worst tokens")));
  EXPECT_THAT(html, Not(HasSubstr("Kullback")));
}

}  // namespace
}  // namespace steelyard::report
