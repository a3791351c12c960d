#ifndef LOWBIT_EVALUATION_METRICS_H_
#define LOWBIT_EVALUATION_METRICS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace lowbit {

// How often images of each class were taken for each class.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int num_classes);

  // Both in [0, num_classes()).
  void Add(int label, int prediction);
  // `other` has the same number of classes.
  void Merge(const ConfusionMatrix& other);

  int num_classes() const { return num_classes_; }
  int64_t count(int label, int prediction) const;
  int64_t total() const;
  int64_t correct() const;                         // Sum of the diagonal.
  int64_t label_count(int label) const;            // Sum of a row.
  int64_t prediction_count(int prediction) const;  // Sum of a column.

 private:
  int num_classes_;
  std::vector<int64_t> counts_;  // [label][prediction]
};

// All in [0, 1]. A ratio with nothing below the line is 0, as in scikit-learn.
struct PrecisionRecallF1 {
  double precision = 0.0;
  double recall = 0.0;
  double f1 = 0.0;
};

struct ClassMetrics {
  PrecisionRecallF1 scores;  // The recall of a class is its accuracy.
  int64_t support = 0;       // Images of the class.
};

struct ClassificationReport {
  int64_t images = 0;
  double top1 = 0.0;
  double topk = 0.0;
  int k = 0;
  std::vector<ClassMetrics> per_class;
  // The mean over the classes, all of them, also those without an image; the scores of the pooled counts, which for one
  // label and one prediction an image are all the top-1 accuracy; and the mean over the classes weighted with their
  // support.
  PrecisionRecallF1 macro;
  PrecisionRecallF1 micro;
  PrecisionRecallF1 weighted;
};

// Takes the logits of images and their labels, batch by batch. Of equal logits the lower class comes first.
class ClassificationMetrics {
 public:
  // `k` above num_classes counts every image as a hit.
  explicit ClassificationMetrics(int num_classes, int k = 3);

  // `logits`: [n, num_classes], row by row; `labels`: [n]; `indices`: [n], or empty, the images' numbers for error
  // messages (if empty: counted from 0 over all that was added). InvalidArgument, and nothing is added, if the sizes do
  // not agree, a label is out of range, or a logit is NaN or infinite.
  absl::Status Add(absl::Span<const float> logits, absl::Span<const int32_t> labels,
                   absl::Span<const int64_t> indices = {});
  // `other` has the same number of classes and the same k.
  void Merge(const ClassificationMetrics& other);

  // Zeros if nothing was added.
  ClassificationReport Report() const;
  const ConfusionMatrix& confusion() const { return confusion_; }
  int num_classes() const { return confusion_.num_classes(); }
  int k() const { return k_; }

 private:
  ConfusionMatrix confusion_;
  int k_;
  int64_t topk_hits_ = 0;
};

}  // namespace lowbit

#endif  // LOWBIT_EVALUATION_METRICS_H_
