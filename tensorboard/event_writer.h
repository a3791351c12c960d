#ifndef LOWBIT_TENSORBOARD_EVENT_WRITER_H_
#define LOWBIT_TENSORBOARD_EVENT_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "tensorboard/histogram.h"

namespace lowbit {

class TensorBoardEvent;

// Writes events for TensorBoard to a file of its own in a folder:
//
//   events.out.tfevents.<seconds since 1970>.<host>.<process>.<number>
//
// Folder and file are made by the first event. Each event is in the file, whole, when its call returns; errors name the
// file (or the folder) and give the system's reason. TensorBoard takes all files of a folder, in the order of their
// names, for one run.
//
// A tag is the name of a chart. What stands before its first "/" is the heading under which TensorBoard puts it.
class EventWriter {
 public:
  explicit EventWriter(std::string folder) : folder_(std::move(folder)) {}

  absl::Status AddScalar(absl::string_view tag, int64_t step, double value);

  // `description` is Markdown that TensorBoard shows beside the chart.
  absl::Status AddHistogram(absl::string_view tag, int64_t step, const HistogramSummary& histogram,
                            absl::string_view description = "");

  // A PNG file's content and its size in pixels.
  absl::Status AddImage(absl::string_view tag, int64_t step, absl::string_view png, int width, int height);

  // Takes back what earlier files of the folder hold from `step` on: for a run that goes on at an earlier place than
  // where it was killed.
  absl::Status Restart(int64_t step);

 private:
  absl::Status Open();
  absl::Status Write(TensorBoardEvent event);

  const std::string folder_;
  std::unique_ptr<RecordFile> file_;
};

}  // namespace lowbit

#endif  // LOWBIT_TENSORBOARD_EVENT_WRITER_H_
