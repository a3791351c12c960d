#include "runtime/answers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/table.h"

namespace lowbit {
namespace {

std::string ClassName(int64_t index, const std::vector<std::string>& names) {
  return names.empty() ? absl::StrCat(index) : names[static_cast<size_t>(index)];
}

bool AnyLabel(const ImageList& images) {
  return std::any_of(images.labels.begin(), images.labels.end(), [](int32_t label) { return label >= 0; });
}

std::vector<std::string> ProfileRow(const StepInfo& step, double seconds, double all_seconds,
                                    const ProfileScale& scale) {
  const double images = static_cast<double>(scale.images);
  const double per_second = seconds > 0 ? static_cast<double>(step.macs) * images / seconds : 0;
  std::vector<std::string> row = {step.layers, step.kernel, absl::StrFormat("%.1f", seconds / images * 1e6),
                                  absl::StrFormat("%.1f%%", all_seconds > 0 ? 100 * seconds / all_seconds : 0)};
  const bool multiplies = step.macs > 0;
  row.push_back(multiplies ? absl::StrCat(step.macs) : "");
  row.push_back(multiplies ? absl::StrFormat("%.2f", per_second / 1e9) : "");
  if (scale.cycles_per_second > 0) {
    row.push_back(multiplies ? absl::StrFormat("%.1f", per_second / scale.cycles_per_second) : "");
  }
  return row;
}

}  // namespace

std::vector<double> Softmax(const float* outputs, int64_t count) {
  // Relative to the highest, so that nothing overflows.
  const float highest = *std::max_element(outputs, outputs + count);
  std::vector<double> scores;
  for (int64_t i = 0; i < count; ++i) scores.push_back(std::exp(static_cast<double>(outputs[i]) - highest));
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  for (double& score : scores) score /= sum;
  return scores;
}

std::string AnswerTable(const ImageList& images, const std::vector<float>& outputs, int64_t classes,
                        const std::vector<std::string>& class_names, int top_k, int64_t rows) {
  const bool labelled = AnyLabel(images);
  const int shown = static_cast<int>(std::min<int64_t>(top_k, classes));
  TableRows table = {{"image"}};
  if (labelled) table[0].push_back("label");
  for (int k = 1; k <= shown; ++k) {
    table[0].push_back(absl::StrCat("top ", k));
    table[0].push_back("score");
  }
  for (int64_t i = 0; i < std::min(rows, images.size()); ++i) {
    const float* const own = outputs.data() + i * classes;
    const std::vector<double> scores = Softmax(own, classes);
    std::vector<std::string> row = {images.names[static_cast<size_t>(i)]};
    if (labelled) {
      const int32_t label = images.labels[static_cast<size_t>(i)];
      row.push_back(label < 0 ? "" : ClassName(label, class_names));
    }
    for (const int best : TopK(own, classes, shown)) {
      row.push_back(ClassName(best, class_names));
      row.push_back(absl::StrFormat("%.4f", scores[static_cast<size_t>(best)]));
    }
    table.push_back(std::move(row));
  }
  return AlignedTable(table);
}

Hits CountHits(const ImageList& images, const std::vector<float>& outputs, int64_t classes, int k) {
  Hits hits;
  for (int64_t i = 0; i < images.size(); ++i) {
    const int32_t label = images.labels[static_cast<size_t>(i)];
    if (label < 0) continue;
    ++hits.labelled;
    const std::vector<int> best = TopK(outputs.data() + i * classes, classes, k);
    if (std::find(best.begin(), best.end(), label) != best.end()) ++hits.hits;
  }
  return hits;
}

std::string ProfileTable(const std::vector<StepInfo>& steps, const std::vector<double>& seconds,
                         const ProfileScale& scale) {
  TableRows table = {{"layers", "kernel", "us/image", "time", "MAC/image", "GMAC/s"}};
  if (scale.cycles_per_second > 0) table[0].push_back("MAC/cycle");
  StepInfo all;
  all.layers = "all";
  const double all_seconds = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  for (size_t i = 0; i < steps.size(); ++i) {
    table.push_back(ProfileRow(steps[i], seconds[i], all_seconds, scale));
    all.macs += steps[i].macs;
  }
  table.push_back(ProfileRow(all, all_seconds, all_seconds, scale));
  return AlignedTable(table);
}

}  // namespace lowbit
