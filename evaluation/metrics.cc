#include "evaluation/metrics.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lowbit {
namespace {

double Ratio(double above, double below) { return below == 0 ? 0.0 : above / below; }

double HarmonicMean(double a, double b) { return Ratio(2.0 * a * b, a + b); }

size_t Index(int num_classes, int label, int prediction) {
  return static_cast<size_t>(label) * static_cast<size_t>(num_classes) + static_cast<size_t>(prediction);
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(int num_classes)
    : num_classes_(num_classes), counts_(static_cast<size_t>(num_classes) * static_cast<size_t>(num_classes), 0) {}

void ConfusionMatrix::Add(int label, int prediction) {
  LOWBIT_CHECK(label >= 0 && label < num_classes_ && prediction >= 0 && prediction < num_classes_, "label ", label,
               ", prediction ", prediction, " of ", num_classes_, " classes");
  ++counts_[Index(num_classes_, label, prediction)];
}

void ConfusionMatrix::Merge(const ConfusionMatrix& other) {
  LOWBIT_CHECK(other.num_classes_ == num_classes_, other.num_classes_, " and ", num_classes_, " classes");
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

int64_t ConfusionMatrix::count(int label, int prediction) const {
  return counts_[Index(num_classes_, label, prediction)];
}

int64_t ConfusionMatrix::total() const {
  int64_t sum = 0;
  for (const int64_t count : counts_) sum += count;
  return sum;
}

int64_t ConfusionMatrix::correct() const {
  int64_t sum = 0;
  for (int c = 0; c < num_classes_; ++c) sum += count(c, c);
  return sum;
}

int64_t ConfusionMatrix::label_count(int label) const {
  int64_t sum = 0;
  for (int c = 0; c < num_classes_; ++c) sum += count(label, c);
  return sum;
}

int64_t ConfusionMatrix::prediction_count(int prediction) const {
  int64_t sum = 0;
  for (int c = 0; c < num_classes_; ++c) sum += count(c, prediction);
  return sum;
}

ClassificationMetrics::ClassificationMetrics(int num_classes, int k) : confusion_(num_classes), k_(k) {}

absl::Status ClassificationMetrics::Add(absl::Span<const float> logits, absl::Span<const int32_t> labels,
                                        absl::Span<const int64_t> indices) {
  const size_t classes = static_cast<size_t>(num_classes());
  if (logits.size() != labels.size() * classes || (!indices.empty() && indices.size() != labels.size())) {
    return absl::InvalidArgumentError(absl::StrCat(logits.size(), " logits and ", indices.size(), " indices for ",
                                                   labels.size(), " labels of ", classes, " classes"));
  }
  const int64_t before = confusion_.total();
  for (size_t i = 0; i < labels.size(); ++i) {
    const int64_t image = indices.empty() ? before + static_cast<int64_t>(i) : indices[i];
    if (labels[i] < 0 || labels[i] >= num_classes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("image ", image, ": label ", labels[i], ", wanted 0 to ", num_classes() - 1));
    }
    for (size_t c = 0; c < classes; ++c) {
      const float logit = logits[i * classes + c];
      if (!std::isfinite(logit)) {
        return absl::InvalidArgumentError(absl::StrCat("image ", image, ": the logit of class ", c, " is ", logit));
      }
    }
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    const float* row = logits.data() + i * classes;
    const float of_label = row[labels[i]];
    int ahead = 0;  // Classes that come before the label.
    for (int c = 0; c < num_classes(); ++c) ahead += row[c] > of_label || (row[c] == of_label && c < labels[i]);
    topk_hits_ += ahead < k_;
    confusion_.Add(labels[i], static_cast<int>(std::max_element(row, row + classes) - row));
  }
  return absl::OkStatus();
}

void ClassificationMetrics::Merge(const ClassificationMetrics& other) {
  LOWBIT_CHECK(other.k_ == k_, "top-", other.k_, " and top-", k_);
  confusion_.Merge(other.confusion_);
  topk_hits_ += other.topk_hits_;
}

ClassificationReport ClassificationMetrics::Report() const {
  ClassificationReport report;
  report.images = confusion_.total();
  report.k = k_;
  const double images = static_cast<double>(report.images);
  report.top1 = Ratio(static_cast<double>(confusion_.correct()), images);
  report.topk = Ratio(static_cast<double>(topk_hits_), images);
  report.micro = {report.top1, report.top1, report.top1};
  for (int c = 0; c < num_classes(); ++c) {
    const double hits = static_cast<double>(confusion_.count(c, c));
    ClassMetrics metrics;
    metrics.support = confusion_.label_count(c);
    metrics.scores.precision = Ratio(hits, static_cast<double>(confusion_.prediction_count(c)));
    metrics.scores.recall = Ratio(hits, static_cast<double>(metrics.support));
    metrics.scores.f1 = HarmonicMean(metrics.scores.precision, metrics.scores.recall);
    const auto add = [&](double weight, PrecisionRecallF1& mean) {
      mean.precision += weight * metrics.scores.precision;
      mean.recall += weight * metrics.scores.recall;
      mean.f1 += weight * metrics.scores.f1;
    };
    add(1.0 / num_classes(), report.macro);
    add(Ratio(static_cast<double>(metrics.support), images), report.weighted);
    report.per_class.push_back(metrics);
  }
  return report;
}

}  // namespace lowbit
