#include "sensitivity/plots.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {
namespace {

// ---- Harm ----

constexpr double kRow = 24;
constexpr double kPage = 1170;  // the width to fill
constexpr double kNarrowestPanel = 150;
constexpr double kPanelGap = 22;
constexpr double kTop = 44;
constexpr double kCharacter = 7.3;  // width of one in the labels' font

// One bar of a row: from the panel's left edge.
std::string Bar(const char* style, double x, double y, double width, double height) {
  return absl::StrFormat("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>", style, x, y,
                         width, height);
}

std::string Text(const char* style, double x, double y, absl::string_view text) {
  return absl::StrFormat("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>", style, x, y, HtmlEscape(text));
}

std::string Line(const char* style, double x1, double y1, double x2, double y2) {
  return absl::StrFormat("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", style, x1, y1, x2, y2);
}

double LargestKl(const SensitivityReport& report, size_t width) {
  double largest = 0;
  for (const LayerSensitivity& layer : report.layers) {
    const LayerAtWidth& at = layer.widths[width];
    for (const auto* effect : {&at.weight_alone, &at.activation_alone, &at.both}) {
      if (effect->has_value()) largest = std::max(largest, (*effect)->kl);
    }
  }
  return largest;
}

// The smallest of 1, 2, 2.5, 5 times a power of ten that is not below x.
double RoundUp(double x) {
  if (!(x > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(x)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= x * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string HarmTitle(const LayerSensitivity& layer, const LayerAtWidth& width) {
  std::string text = absl::StrCat(layer.name, ", ", width.bits, " bits. KL:");
  if (width.weight_alone) absl::StrAppend(&text, " weight ", ShortNumber(width.weight_alone->kl), ",");
  if (width.activation_alone) absl::StrAppend(&text, " activation ", ShortNumber(width.activation_alone->kl), ",");
  if (width.both) absl::StrAppend(&text, " both ", ShortNumber(width.both->kl), ",");
  return absl::StrCat(text, absl::StrFormat(" same top-1 %.1f %%", 100 * width.whole().same_top1));
}

// Bars grow with the root of KL, which is of the order of the change itself: so small ones can be seen beside large
// ones.
std::string HarmPanel(const SensitivityReport& report, size_t index, double x, double panel) {
  const double scale = RoundUp(LargestKl(report, index));
  const double bottom = kTop + kRow * static_cast<double>(report.layers.size());
  const int bits = report.bits[index];
  std::string svg = Text("head", x, 16, absl::StrCat(bits, bits == 1 ? " bit" : " bits"));
  for (const double part : {0.0, 0.5, 1.0}) {
    const double at = x + part * panel;
    absl::StrAppend(&svg, Line("rule", at, kTop - 4, at, bottom),
                    Text(part == 0.0   ? "tick start"
                         : part == 1.0 ? "tick end"
                                       : "tick middle",
                         at, kTop - 9, ShortNumber(part * part * scale)));
  }
  double y = kTop;
  for (const LayerSensitivity& layer : report.layers) {
    const LayerAtWidth& width = layer.widths[index];
    const auto bar = [&](const char* style, const std::optional<Effect>& effect, double offset, double height) {
      if (effect) absl::StrAppend(&svg, Bar(style, x, y + offset, panel * std::sqrt(effect->kl / scale), height));
    };
    absl::StrAppend(&svg, "<g><title>", HtmlEscape(HarmTitle(layer, width)), "</title>", Bar("hit", x, y, panel, kRow));
    bar("both", width.both, 3, kRow - 6);
    bar("weight", width.weight_alone, 6, 5);
    bar("activation", width.activation_alone, 13, 5);
    absl::StrAppend(&svg, "</g>\n");
    y += kRow;
  }
  return svg;
}

// ---- Histograms ----

constexpr double kWidth = 300;
constexpr double kHeight = 92;
constexpr double kAxis = 16;  // below, for the labels
constexpr size_t kMostLevels = 64;

// What a histogram's picture has: bars over [bars.low, bars.high], on an axis over [low, high].
struct HistogramPicture {
  const char* style;
  const Bars* bars;
  double low, high;
  std::vector<double> levels;
  double grid_low, grid_high;
  std::vector<std::pair<double, std::string>> labels;
  std::string title;
};

std::string DrawHistogram(const HistogramPicture& picture) {
  const double span = picture.high > picture.low ? picture.high - picture.low : 1;
  const auto place = [&](double x) { return (x - picture.low) / span * kWidth; };
  std::string svg = absl::StrFormat("<svg viewBox=\"0 0 %g %g\" role=\"img\"><title>%s</title>", kWidth,
                                    kHeight + kAxis, HtmlEscape(picture.title));
  // What the grid does not reach.
  absl::StrAppend(&svg, Bar("beyond", 0, 0, std::max(place(picture.grid_low), 0.0), kHeight),
                  Bar("beyond", std::min(place(picture.grid_high), kWidth), 0,
                      std::max(kWidth - place(picture.grid_high), 0.0), kHeight));
  const auto most = std::max_element(picture.bars->counts.begin(), picture.bars->counts.end());
  const double tallest = std::log1p(static_cast<double>(std::max<int64_t>(*most, 1)));
  // A tensor of one value is a bar that can be seen.
  const bool one_value = picture.bars->high <= picture.bars->low;
  const double width = one_value ? 4
                                 : (picture.bars->high - picture.bars->low) / span * kWidth /
                                       static_cast<double>(picture.bars->counts.size());
  std::string path;
  for (size_t i = 0; i < picture.bars->counts.size(); ++i) {
    const double height = std::log1p(static_cast<double>(picture.bars->counts[i])) / tallest * (kHeight - 6);
    if (height <= 0) continue;
    absl::StrAppendFormat(&path, "M%.1f %gv%.1fh%.2fv%.1fz", place(picture.bars->low) + static_cast<double>(i) * width,
                          kHeight, -height, std::max(width - 0.6, 0.6), height);
  }
  absl::StrAppend(&svg, "<path class=\"", picture.style, "\" d=\"", path, "\"/>");
  if (picture.levels.size() <= kMostLevels) {
    std::string levels;
    for (const double level : picture.levels) absl::StrAppendFormat(&levels, "M%.1f 0V%g", place(level), kHeight + 4);
    absl::StrAppend(&svg, "<path class=\"level\" d=\"", levels, "\"/>");
  }
  absl::StrAppend(&svg, Line("axis", 0, kHeight, kWidth, kHeight));
  for (const auto& [x, label] : picture.labels) {
    const double at = place(x);
    absl::StrAppend(&svg, Text(at < 36            ? "tick start"
                               : at > kWidth - 36 ? "tick end"
                                                  : "tick middle",
                               at, kHeight + 12, label));
  }
  return svg + "</svg>";
}

std::string HistogramTitle(const LayerSensitivity& layer, const char* what, const TensorAtWidth& tensor, int bits,
                           double low, double high) {
  return absl::StrFormat("%s of %s: values from %s to %s; %d-bit grid from %s to %s; clipped %.3f %%", what, layer.name,
                         ShortNumber(low), ShortNumber(high), bits, ShortNumber(tensor.low), ShortNumber(tensor.high),
                         100 * tensor.clipped);
}

}  // namespace

std::string HtmlEscape(absl::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string ShortNumber(double x) {
  if (std::isinf(x)) return x > 0 ? "exact" : "lost";
  if (x != 0 && std::abs(x) < 1e-3) return absl::StrFormat("%.1e", x);
  return absl::StrFormat("%.3g", x);
}

std::string HarmPlot(const SensitivityReport& report) {
  size_t longest = 0;
  for (const LayerSensitivity& layer : report.layers) longest = std::max(longest, layer.name.size());
  const double left = 14 + kCharacter * static_cast<double>(std::min<size_t>(longest, 48));
  const double panels = static_cast<double>(report.bits.size());
  const double panel = std::max((kPage - left) / panels - kPanelGap, kNarrowestPanel);
  const double width = left + (panel + kPanelGap) * panels;
  const double height = kTop + kRow * static_cast<double>(report.layers.size()) + 6;
  std::string svg =
      absl::StrFormat("<svg class=\"harm\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\">\n",
                      width, height, width, height);
  for (size_t i = 0; i < report.layers.size(); ++i) {
    absl::StrAppend(&svg,
                    Text("name", left - 10, kTop + kRow * (static_cast<double>(i) + 0.5) + 4, report.layers[i].name));
  }
  for (size_t i = 0; i < report.bits.size(); ++i) {
    absl::StrAppend(&svg, "\n", HarmPanel(report, i, left + (panel + kPanelGap) * static_cast<double>(i), panel));
  }
  return svg + "</svg>\n";
}

std::string WeightPlot(const LayerSensitivity& layer, const LayerAtWidth& width) {
  HistogramPicture picture;
  picture.style = "weight";
  picture.bars = &width.weight_places;
  picture.low = picture.bars->low;
  picture.high = picture.bars->high;
  picture.grid_low = 0;
  picture.grid_high = 1;
  const std::vector<float>& levels = width.weight->levels;
  for (const float level : levels) {
    const double span = static_cast<double>(levels.back()) - levels.front();
    if (span > 0) picture.levels.push_back((static_cast<double>(level) - levels.front()) / span);
  }
  picture.labels = {{0, "lowest level"}, {1, "highest"}};
  picture.title = HistogramTitle(layer, "weight", *width.weight, width.bits, layer.weight_min, layer.weight_max);
  return DrawHistogram(picture);
}

std::string ActivationPlot(const LayerSensitivity& layer, const LayerAtWidth& width) {
  HistogramPicture picture;
  picture.style = "activation";
  picture.bars = &layer.activation_bars;
  picture.grid_low = width.activation->low;
  picture.grid_high = width.activation->high;
  picture.low = std::min<double>(layer.activation_min, picture.grid_low);
  picture.high = std::max<double>(layer.activation_max, picture.grid_high);
  picture.levels.assign(width.activation->levels.begin(), width.activation->levels.end());
  picture.labels = {{picture.low, ShortNumber(picture.low)}, {picture.high, ShortNumber(picture.high)}};
  const double share = -picture.low / (picture.high - picture.low);
  if (share > 0.15 && share < 0.85) picture.labels.emplace_back(0, "0");
  picture.title =
      HistogramTitle(layer, "input", *width.activation, width.bits, layer.activation_min, layer.activation_max);
  return DrawHistogram(picture);
}

}  // namespace lowbit
