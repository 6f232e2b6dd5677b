// Text of pages: any bytes are safe to show, and numbers read as they should.
#include "report/html.h"

#include <gmock/gmock.h>

#include <cmath>

#include "report/pages.h"

namespace steelyard::report {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Html, TextFromOutsideIsNoMarkup) {
  EXPECT_EQ(escaped("<b a=\"1\">&amp;</b>"), "&lt;b a=&quot;1&quot;&gt;&amp;amp;&lt;/b&gt;");
  EXPECT_EQ(escaped(std::string("a\x01"
                                "b\x7f\0c",
                                6)),
            "a\\x01b\\x7f\\x00c");
  EXPECT_EQ(escaped("\xff\xc3\x28"), "\\xff\\xc3(");
  EXPECT_EQ(escaped("größer"), "größer");
  EXPECT_EQ(escaped(std::string(5000, 'x')).size(), 5000u);
}

TEST(Html, BlanksOfTokensAreVisible) {
  EXPECT_EQ(escaped_text(" a\n\t<", true), "␣a↵⇥&lt;");
  EXPECT_EQ(escaped_text(" a\n", false), " a↵");
  // A character that the sign stands beside stays whole.
  EXPECT_EQ(escaped_text("é ü", true), "é␣ü");
}

TEST(Html, NumbersReadAsTheyShould) {
  EXPECT_EQ(bytes_text(96), "96 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text((uint64_t{1} << 30) * 32 / 3), "10.67 GiB");
  EXPECT_EQ(bytes_text(uint64_t{150} << 30), "150.0 GiB");
  EXPECT_EQ(count_text(7), "7");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(11452226048), "11,452,226,048");
  EXPECT_EQ(number_text(0.011341), "0.01134");
  EXPECT_EQ(number_text(66.6295), "66.63");
  EXPECT_EQ(number_text(-0.5), "-0.5000");
  EXPECT_EQ(number_text(1.23e-7), "1.2e-07");
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(0.011341, 0.00021), "0.01134 ± 0.00021");
  EXPECT_EQ(number_text(66.6295, 2.3), "66.6 ± 2.3");
  EXPECT_EQ(number_text(0.5, 0), "0.5000");
  EXPECT_EQ(error_text(0.00101), "0.0010");
  EXPECT_EQ(error_text(0), "0");
  EXPECT_EQ(percent_text(0.92512), "92.5 %");
  EXPECT_EQ(percent_text(0.0312), "3.12 %");
  for (const double broken : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(number_text(broken), "–");
    EXPECT_EQ(number_text(broken, 1), "–");
    EXPECT_EQ(error_text(broken), "–");
    EXPECT_EQ(percent_text(broken), "–");
  }
}

TEST(Html, PagesAreWholeAndLoadNothing) {
  Table table({{"a < b"}, {"n", true}});
  table.add({"<code>x</code>", "1"});
  table.add({"y", "2"}, /*is_marked=*/true);
  const std::string html = page("<title>", "sub & title", section("one", "", table.html()) + tiles({{"l", "<v>", ""}}));
  EXPECT_EQ(test::markup_error(html), "");
  EXPECT_EQ(test::forbidden(html), "");
  EXPECT_THAT(html, HasSubstr("<th>a &lt; b</th>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">2</td>"));
  EXPECT_THAT(html, HasSubstr("<h1>&lt;title&gt;</h1>"));
  EXPECT_THAT(html, HasSubstr("@media print"));
  EXPECT_THAT(html, Not(HasSubstr("<p class=\"about\"></p>")));
}

// ---- the checks themselves

TEST(Html, BrokenMarkupIsFound) {
  for (const char* const broken :
       {"<p>", "</p>", "<p><b></p></b>", "a > b", "a & b", "<p title=\"a & b\"></p>", "<p title=x></p>", "<p", "<3/>"})
    EXPECT_NE(test::markup_error(broken), "") << broken;
  EXPECT_EQ(test::markup_error("<!DOCTYPE html><p a=\"1\">a &amp; b<br/></p>"), "");
  for (const char* const broken : {"<script>", "http://x", "<a href=\"x\">", ">nan<", " inf "})
    EXPECT_NE(test::forbidden(broken), "") << broken;
  EXPECT_EQ(test::forbidden("information, finance"), "");
}

}  // namespace
}  // namespace steelyard::report
