#include "sensitivity/html.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::Not;

// Of a layer at one width; the rest does not matter here.
LayerAtWidth AtWidth(int bits, double kl) {
  LayerAtWidth width;
  width.bits = bits;
  width.weight = TensorAtWidth{-1, 1, 0.25, {-1, 0, 1}};
  width.activation = TensorAtWidth{0, 2, 0, {0, 1, 2}};
  width.weight_sqnr_db = 6.5;
  width.weight_places = {0, 1, {1, 2, 3}};
  width.weight_alone = Effect{10, 0.9, kl / 2, 1};
  width.activation_alone = Effect{10, 0.9, kl / 3, 1};
  width.both = Effect{5, 0.8, kl, 0.75};
  return width;
}

LayerSensitivity MakeLayer(const std::string& name, double kl) {
  LayerSensitivity layer;
  layer.name = name;
  layer.reads = absl::StrCat("before ", name);
  layer.weights = 1234;
  layer.activation_max = 2;
  layer.activation_bars = {0, 2, {5, 0, 1}};
  layer.widths = {AtWidth(8, kl / 10), AtWidth(2, kl)};
  return layer;
}

SensitivityReport MakeReport() {
  SensitivityReport report;
  report.weight_quantizer = "mse";
  report.activation_quantizer = "kl";
  report.bits = {8, 2};
  report.images = 4;
  report.layers = {MakeLayer("harmless", 0.125), MakeLayer("a<b>&\"c'", 0.5)};
  return report;
}

// The name of each tag that opens is that of the one that closes. Returns what is wrong, or nothing.
std::string Unbalanced(absl::string_view page) {
  std::vector<std::string> open;
  absl::ConsumePrefix(&page, "<!DOCTYPE html>");
  while (true) {
    const size_t begin = page.find('<');
    if (begin == absl::string_view::npos) break;
    const size_t end = page.find('>', begin);
    if (end == absl::string_view::npos) return "a tag that does not end";
    const absl::string_view tag = page.substr(begin + 1, end - begin - 1);
    page.remove_prefix(end + 1);
    if (tag.find('<') != absl::string_view::npos) return absl::StrCat("< in ", tag);
    const std::string name(tag.substr(0, tag.find_first_of(" /", 1)));
    if (name[0] == '/') {
      if (open.empty() || absl::StrCat("/", open.back()) != name) return absl::StrCat(name, " closes another tag");
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    // Text up to the next tag: every & begins an entity.
    const absl::string_view text = page.substr(0, page.find('<'));
    for (size_t i = text.find('&'); i != absl::string_view::npos; i = text.find('&', i + 1)) {
      if (text.find(';', i) == absl::string_view::npos) return absl::StrCat("a bare & in ", text);
    }
  }
  return open.empty() ? "" : absl::StrCat(open.back(), " stays open");
}

TEST(SensitivityHtmlTest, IsWellFormedAndNeedsNothingElse) {
  const std::string page = SensitivityHtml(MakeReport(), "run <1>");
  EXPECT_EQ(Unbalanced(page), "");
  EXPECT_NE(Unbalanced("<p><b></p></b>"), "");
  EXPECT_NE(Unbalanced("<p>a & b</p>"), "");
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(page, HasSubstr("<title>Sensitivity: run &lt;1&gt;</title>"));
}

TEST(SensitivityHtmlTest, HoldsEachLayerWithItsNameEscaped) {
  const std::string page = SensitivityHtml(MakeReport(), "run");
  EXPECT_THAT(page, HasSubstr("<h3>harmless</h3>"));
  EXPECT_THAT(page, HasSubstr("<h3>a&lt;b&gt;&amp;&quot;c&#39;</h3>"));
  EXPECT_THAT(page, HasSubstr("<td data-value=\"a&lt;b&gt;&amp;&quot;c&#39;\">"));
  EXPECT_THAT(page, HasSubstr("<code>before a&lt;b&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("a<b>")));
  // The most harmful first.
  EXPECT_LT(page.find("<h3>a&lt;b"), page.find("<h3>harmless"));
  EXPECT_THAT(page, HasSubstr("<td data-value=\"0.5\">0.5</td>"));
  EXPECT_THAT(page, HasSubstr("1,234"));
}

TEST(SensitivityHtmlTest, EachWidthHasItsPlots) {
  const std::string page = SensitivityHtml(MakeReport(), "run");
  // Two layers: a weight and an activation at each of two widths, and one plot of the harm.
  size_t plots = 0;
  for (size_t i = page.find("<svg"); i != std::string::npos; i = page.find("<svg", i + 1)) ++plots;
  EXPECT_EQ(plots, 2u * 2 * 2 + 1);
  EXPECT_THAT(page, HasSubstr("weight of harmless: values from 0 to 0; 2-bit grid from -1 to 1; clipped 25.000 %"));
  // Without 4 bits the smallest width is shown first.
  EXPECT_THAT(page, HasSubstr("id=\"w2\" checked=\"checked\""));
  EXPECT_THAT(page, HasSubstr("#w8:checked ~ .cards .w8"));
}

TEST(SensitivityHtmlTest, WeightsAlone) {
  SensitivityReport report = MakeReport();
  report.activation_quantizer = "";
  for (LayerSensitivity& layer : report.layers) {
    for (LayerAtWidth& width : layer.widths) {
      width.activation.reset();
      width.activation_alone.reset();
      width.both.reset();
    }
  }
  const std::string page = SensitivityHtml(report, "run");
  EXPECT_EQ(Unbalanced(page), "");
  EXPECT_THAT(page, Not(HasSubstr("KL act.")));
  EXPECT_THAT(page, HasSubstr("0.25</b>"));  // the weight's KL is that of all there is
}

}  // namespace
}  // namespace lowbit
