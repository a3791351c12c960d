#include "sensitivity/html.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "sensitivity/html_style.h"
#include "sensitivity/plots.h"

namespace lowbit {
namespace {

std::string Bits(int bits) { return absl::StrCat(bits, bits == 1 ? " bit" : " bits"); }

std::string Method(const std::string& quantizer) {
  return quantizer.empty() ? "in float" : absl::StrCat("by <code>", HtmlEscape(quantizer), "</code>");
}

// 12345 -> "12,345".
std::string Grouped(int64_t number) {
  std::string text = absl::StrCat(number);
  for (int64_t i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3) text.insert(static_cast<size_t>(i), ",");
  return text;
}

std::string Head(const SensitivityReport& report, absl::string_view title) {
  std::string choices;
  for (const int bits : report.bits) {
    absl::StrAppend(&choices, "#w", bits, ":checked ~ .cards .w", bits, " { display: block; }\n");
  }
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Sensitivity: ",
      HtmlEscape(title), "</title>\n<style>", kSensitivityStyle, choices, "</style>\n</head>\n");
}

std::string Intro(const SensitivityReport& report, absl::string_view title) {
  std::string text = absl::StrCat(
      "<h1>Which layer hurts?</h1>\n<p class=\"quiet\"><code>", HtmlEscape(title), "</code>: ", report.layers.size(),
      " layers, one quantized at a time, everything else float. Weights ", Method(report.weight_quantizer),
      ", the tensors that layers read ", Method(report.activation_quantizer), "; ", Grouped(report.images),
      " training images. Harm is the KL divergence of the network’s answers, float ‖ quantized, in nats, the mean over "
      "the "
      "images.</p>\n<ul class=\"worst\">\n");
  const auto order = report.ByHarm();
  for (size_t i = 0; i < std::min<size_t>(order.size(), 4); ++i) {
    const Effect& effect = order[i]->widths.back().whole();
    absl::StrAppend(&text, "<li><code>", HtmlEscape(order[i]->name), "</code><b>", ShortNumber(effect.kl),
                    "</b><span class=\"quiet\">KL at ", Bits(report.bits.back()),
                    absl::StrFormat("; %.1f %% same class</span></li>\n", 100 * effect.same_top1));
  }
  return text + "</ul>\n";
}

std::string HarmSection(const SensitivityReport& report) {
  std::string key;
  const auto add = [&](const char* style, const char* text) {
    absl::StrAppend(&key, "<span><i class=\"", style, "\"></i>", text, "</span>");
  };
  if (!report.weight_quantizer.empty()) add("weight", "its weight quantized");
  if (!report.activation_quantizer.empty()) add("activation", "the tensor that it reads quantized");
  if (!report.weight_quantizer.empty() && !report.activation_quantizer.empty()) add("both", "both");
  return absl::StrCat(
      "<h2>Harm by layer and width</h2>\n<p class=\"quiet\">In the order of the network. Each width has a "
      "scale of its own; bars grow with the root of KL.</p>\n<div class=\"key\">",
      key, "</div>\n<div class=\"scroll\">\n", HarmPlot(report), "</div>\n");
}

std::string CardWidth(const LayerSensitivity& layer, const LayerAtWidth& width) {
  std::string text = absl::StrCat("<div class=\"at w", width.bits, "\">\n");
  if (width.weight) {
    absl::StrAppend(&text, "<p>weight ", ShortNumber(layer.weight_min), " to ", ShortNumber(layer.weight_max),
                    "; SQNR ", ShortNumber(width.weight_sqnr_db), " dB; clipped ",
                    absl::StrFormat("%.2f\u00a0%%", 100 * width.weight->clipped), "</p>\n", WeightPlot(layer, width),
                    "\n");
  }
  if (width.activation) {
    absl::StrAppend(&text, "<p>reads <code>", HtmlEscape(layer.reads), "</code>, grid ",
                    ShortNumber(width.activation->low), " to ", ShortNumber(width.activation->high), "; clipped ",
                    absl::StrFormat("%.2f\u00a0%%", 100 * width.activation->clipped), "</p>\n",
                    ActivationPlot(layer, width), "\n");
  }
  absl::StrAppend(&text, "<p>KL ", ShortNumber(width.whole().kl), "; output SQNR ",
                  ShortNumber(width.whole().output_sqnr_db), " dB</p>\n");
  return text + "</div>\n";
}

std::string HistogramSection(const SensitivityReport& report) {
  const auto four = std::find(report.bits.begin(), report.bits.end(), 4);
  const int shown = four == report.bits.end() ? report.bits.back() : 4;
  std::string text =
      "<h2>Values and grids</h2>\n<p class=\"quiet\">The most harmful layer first. Counts are on a logarithmic scale. "
      "Weights are drawn by their place in the grid of their own channel, from its lowest to its highest level. Lines "
      "are "
      "the grid’s levels (of the first channel, where channels differ; left out where there are more than 64).</p>\n"
      "<div class=\"key\"><span><i class=\"line\"></i>a level of the grid</span><span><i class=\"beyond\"></i>beyond "
      "the "
      "grid</span></div>\n";
  for (const int bits : report.bits) {
    absl::StrAppend(&text, "<input class=\"choose\" type=\"radio\" name=\"width\" id=\"w", bits, "\"",
                    bits == shown ? " checked=\"checked\"" : "", "/><label for=\"w", bits, "\">", Bits(bits),
                    "</label>\n");
  }
  absl::StrAppend(&text, "<div class=\"cards\">\n");
  for (const LayerSensitivity* layer : report.ByHarm()) {
    absl::StrAppend(&text, "<div class=\"card\">\n<h3>", HtmlEscape(layer->name), "</h3>\n");
    for (const LayerAtWidth& width : layer->widths) absl::StrAppend(&text, CardWidth(*layer, width));
    absl::StrAppend(&text, "</div>\n");
  }
  return text + "</div>\n";
}

// A table cell that sorts by `value`.
std::string Cell(double value, const std::string& text) {
  const double sorted = std::isinf(value) ? std::copysign(1e300, value) : value;
  return absl::StrFormat("<td data-value=\"%.9g\">%s</td>", sorted, text);
}

std::string TableRow(const LayerSensitivity& layer) {
  std::string text = absl::StrCat("<tr><td data-value=\"", HtmlEscape(layer.name), "\">", HtmlEscape(layer.name),
                                  "</td>", Cell(static_cast<double>(layer.weights), Grouped(layer.weights)),
                                  Cell(static_cast<double>(layer.macs), Grouped(layer.macs)));
  for (const LayerAtWidth& width : layer.widths) {
    const auto number = [&](double x) { absl::StrAppend(&text, Cell(x, ShortNumber(x))); };
    const auto percent = [&](double x) { absl::StrAppend(&text, Cell(x, absl::StrFormat("%.2f", 100 * x))); };
    if (width.both) {
      number(width.weight_alone->kl);
      number(width.activation_alone->kl);
    }
    number(width.whole().kl);
    percent(width.whole().same_top1);
    number(width.whole().output_sqnr_db);
    absl::StrAppend(&text, Cell(width.whole().output_cosine, absl::StrFormat("%.4f", width.whole().output_cosine)));
    if (width.weight) {
      number(width.weight_sqnr_db);
      percent(width.weight->clipped);
    }
    if (width.activation) percent(width.activation->clipped);
  }
  return text + "</tr>\n";
}

std::string TableSection(const SensitivityReport& report) {
  const bool weights = !report.weight_quantizer.empty();
  const bool activations = !report.activation_quantizer.empty();
  std::vector<std::string> heads = {"layer", "weights", "MACs"};
  for (const int bits : report.bits) {
    const std::string at = absl::StrCat("<br/>", bits, "b");
    if (weights && activations) {
      heads.push_back(absl::StrCat("KL weight", at));
      heads.push_back(absl::StrCat("KL act.", at));
    }
    heads.push_back(absl::StrCat("KL", at));
    heads.push_back(absl::StrCat("same %", at));
    heads.push_back(absl::StrCat("out dB", at));
    heads.push_back(absl::StrCat("cosine", at));
    if (weights) heads.push_back(absl::StrCat("weight dB", at));
    if (weights) heads.push_back(absl::StrCat("w clip %", at));
    if (activations) heads.push_back(absl::StrCat("a clip %", at));
  }
  std::string text = absl::StrCat(
      "<h2>All numbers</h2>\n<p class=\"quiet\">A click on a head sorts. <i>same</i>: images that keep the float "
      "network’s "
      "class. <i>out dB</i>, <i>cosine</i>: signal to quantization noise and cosine of the layer’s own output. "
      "<i>clip</i>: values beyond the grid by more than half a step.</p>\n<div class=\"scroll\">\n"
      "<table class=\"sortable\">\n<thead><tr><th>",
      absl::StrJoin(heads, "</th><th>"), "</th></tr></thead>\n<tbody>\n");
  for (const LayerSensitivity* layer : report.ByHarm()) absl::StrAppend(&text, TableRow(*layer));
  return text + "</tbody>\n</table>\n</div>\n";
}

}  // namespace

std::string SensitivityHtml(const SensitivityReport& report, absl::string_view title) {
  return absl::StrCat(Head(report, title), "<body>\n", Intro(report, title), HarmSection(report),
                      HistogramSection(report), TableSection(report), "<script>", kSensitivityScript,
                      "</script>\n</body>\n</html>\n");
}

}  // namespace lowbit
