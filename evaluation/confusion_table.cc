#include "evaluation/confusion_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lowbit {
namespace {

constexpr char kCorner[] = "label \\ predicted";

std::string Right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string Left(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

}  // namespace

std::string ConfusionTable(const ConfusionMatrix& confusion, const std::vector<std::string>& class_names) {
  const int classes = confusion.num_classes();
  size_t first = sizeof(kCorner) - 1, width = 6;
  for (const std::string& name : class_names) {
    first = std::max(first, name.size());
    width = std::max(width, name.size());
  }
  std::string table = Left(kCorner, first);
  for (const std::string& name : class_names) absl::StrAppend(&table, " ", Right(name, width));
  absl::StrAppend(&table, " ", Right("right", width), "\n");
  for (int label = 0; label < classes; ++label) {
    absl::StrAppend(&table, Left(class_names[static_cast<size_t>(label)], first));
    for (int c = 0; c < classes; ++c)
      absl::StrAppend(&table, " ", Right(absl::StrCat(confusion.count(label, c)), width));
    const int64_t images = confusion.label_count(label);
    const std::string share = images == 0
                                  ? "-"
                                  : absl::StrFormat("%.2f", 100.0 * static_cast<double>(confusion.count(label, label)) /
                                                                static_cast<double>(images));
    absl::StrAppend(&table, " ", Right(share, width), "\n");
  }
  return table;
}

}  // namespace lowbit
