#include "evaluation/confusion_picture.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "raster/text.h"

namespace lowbit {
namespace {

constexpr int kMargin = 12;
constexpr int kGap = 8;  // between names and cells
constexpr Color kInk = {32, 32, 32};
constexpr Color kDark = {8, 64, 129};  // a cell that holds its whole row; one without an image is white

struct Layout {
  int cell_width, cell_height;
  int name_scale;  // 0: no names
  bool numbers;
};

Layout LayoutFor(int classes) {
  if (classes <= 30) return {72, 48, 2, true};
  if (classes <= 150) return {14, 14, 1, false};
  return {std::max(1, 2000 / classes), std::max(1, 2000 / classes), 0, false};
}

Color Shade(double share) {
  // Small shares are what one looks for, so they are lifted: the square root.
  const double depth = std::sqrt(share);
  const auto mix = [depth](uint8_t dark) { return static_cast<uint8_t>(std::lround(255 - depth * (255 - dark))); };
  return {mix(kDark.red), mix(kDark.green), mix(kDark.blue)};
}

void DrawCentred(int x, int y, int width, const std::string& text, int scale, Color color, RgbImage* image) {
  DrawText(x + (width - TextWidth(text, scale)) / 2, y, text, scale, color, image);
}

void DrawNumbers(int x, int y, const Layout& layout, int64_t count, double share, RgbImage* image) {
  if (count == 0) return;
  const Color color = std::sqrt(share) > 0.6 ? kWhite : kInk;
  const std::string number = absl::StrCat(count);
  const bool fits = TextWidth(number, 2) <= layout.cell_width - 4;
  DrawCentred(x, y + 8, layout.cell_width, number, fits ? 2 : 1, color, image);
  DrawCentred(x, y + 32, layout.cell_width, absl::StrFormat("%.1f %%", 100 * share), 1, color, image);
}

}  // namespace

RgbImage ConfusionPicture(const std::string& title, const ConfusionMatrix& confusion,
                          const std::vector<std::string>& class_names) {
  const int classes = confusion.num_classes();
  const Layout layout = LayoutFor(classes);
  int name_width = 0;
  if (layout.name_scale > 0) {
    for (const std::string& name : class_names) name_width = std::max(name_width, TextWidth(name, layout.name_scale));
  }
  const int title_height = 2 * kTextHeight + kGap;
  const int left = kMargin + name_width + kGap;
  const int top = kMargin + title_height + name_width + kGap;
  const std::string axes = "rows: label, columns: prediction";
  const int least_width = 2 * kMargin + std::max(TextWidth(title, 2), TextWidth(axes, 1));
  RgbImage image(std::max(left + classes * layout.cell_width + kMargin, least_width),
                 top + classes * layout.cell_height + kMargin + kTextHeight + kGap);
  DrawText(kMargin, kMargin, title, 2, kInk, &image);
  DrawText(kMargin, image.height() - kMargin - kTextHeight, axes, 1, kInk, &image);

  const int name_height = kTextHeight * layout.name_scale;
  for (int label = 0; label < classes; ++label) {
    const int y = top + label * layout.cell_height;
    if (layout.name_scale > 0) {
      const std::string& name = class_names[static_cast<size_t>(label)];
      const int width = TextWidth(name, layout.name_scale);
      DrawText(kMargin + name_width - width, y + (layout.cell_height - name_height) / 2 + layout.name_scale, name,
               layout.name_scale, kInk, &image);
      RgbImage upright(width, name_height);
      DrawText(0, 0, name, layout.name_scale, kInk, &upright);
      // The column of the same class; its name stands on the cells.
      image.Draw(left + label * layout.cell_width + (layout.cell_width - name_height) / 2, top - kGap - width,
                 TurnLeft(upright));
    }
    const int64_t support = confusion.label_count(label);
    for (int prediction = 0; prediction < classes; ++prediction) {
      const int x = left + prediction * layout.cell_width;
      const int64_t count = confusion.count(label, prediction);
      const double share = support > 0 ? static_cast<double>(count) / static_cast<double>(support) : 0;
      const int line = layout.numbers ? 1 : 0;  // between cells
      image.Fill(x, y, layout.cell_width, layout.cell_height, {225, 225, 225});
      image.Fill(x, y, layout.cell_width - line, layout.cell_height - line, Shade(share));
      if (layout.numbers) DrawNumbers(x, y, layout, count, share, &image);
    }
  }
  return image;
}

}  // namespace lowbit
