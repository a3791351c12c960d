#include "evaluation/evaluator.h"

#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "evaluation/batch_tensor.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double Rate(int64_t images, double seconds) { return seconds > 0 ? static_cast<double>(images) / seconds : 0.0; }

absl::Status CheckLogits(const at::Tensor& logits, int64_t images, int64_t classes) {
  if (logits.scalar_type() == at::kFloat && logits.dim() == 2 && logits.size(0) == images &&
      logits.size(1) == classes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("the network's output is ", c10::toString(logits.scalar_type()), " [",
                                                 absl::StrJoin(logits.sizes(), ", "), "], wanted Float [", images, ", ",
                                                 classes, "]"));
}

}  // namespace

double EvaluationResult::forward_images_per_second() const { return Rate(metrics.images, forward_seconds); }
double EvaluationResult::wall_images_per_second() const { return Rate(metrics.images, wall_seconds); }

absl::StatusOr<EvaluationResult> Evaluate(const ForwardFunction& forward, Loader& loader,
                                          const EvaluationOptions& options) {
  const int classes = loader.dataset().num_classes();
  ClassificationMetrics metrics(classes, options.k);
  MostConfidentMistakes mistakes(options.mistakes);
  std::unique_ptr<Progress> progress;
  if (options.show_progress) progress = std::make_unique<Progress>(options.label, loader.image_count());
  EvaluationResult result;
  const Clock::time_point start = Clock::now();
  while (true) {
    LOWBIT_RETURN_IF_ERROR(CheckInterrupt());
    LOWBIT_ASSIGN_OR_RETURN(std::optional<Batch> batch, loader.Next());
    if (!batch.has_value()) break;
    const Clock::time_point forward_start = Clock::now();
    LOWBIT_ASSIGN_OR_RETURN(at::Tensor logits, forward(ImagesTensor(*batch)));
    result.forward_seconds += SecondsSince(forward_start);
    LOWBIT_RETURN_IF_ERROR(CheckLogits(logits, batch->size(), classes));
    logits = logits.contiguous();
    const absl::Span<const float> values(logits.data_ptr<float>(), static_cast<size_t>(logits.numel()));
    LOWBIT_RETURN_IF_ERROR(metrics.Add(values, batch->labels, batch->indices));
    mistakes.Add(values, batch->labels, batch->indices);
    if (progress == nullptr) continue;
    progress->Advance(batch->size());
    progress->SetNote(absl::StrFormat("top-1 %.2f %%", 100.0 * static_cast<double>(metrics.confusion().correct()) /
                                                           static_cast<double>(metrics.confusion().total())));
  }
  result.wall_seconds = SecondsSince(start);
  result.metrics = metrics.Report();
  result.confusion = metrics.confusion();
  result.mistakes = mistakes.mistakes();
  return result;
}

}  // namespace lowbit
